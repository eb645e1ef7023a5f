"""When checks run: each target on a schedule of its own, start to start, never two at once for one target."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import resource
from collections.abc import Callable, Mapping

from virtualserver.api.reasons import Reason
from virtualserver.model.monitoring import Result, Target
from virtualserver.monitors.port import Monitor

log = logging.getLogger(__name__)

SPREAD = 0.2
"""Seconds over which first checks are spread, at most (never longer than the interval)."""

GRACE = 1.0
"""Seconds after its timeout in which a monitor must have answered; then it is cut off."""


def sockets_at_once() -> int:
    """Return how many checks may run at once: most of the files that this process may open, within reason."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2048 if soft == resource.RLIM_INFINITY else max(16, min(2048, soft // 2))


class Runner:
    """Runs the checks of a set of targets. ``on_result`` is called in the event loop and must not block.

    Checks wait for a free slot in the order in which they became due, so none starves; a target that had to
    wait skips the starts that it missed and keeps its rhythm.
    """

    def __init__(
        self,
        monitors: Mapping[str, Monitor],
        on_result: Callable[[Target, Result], None],
        *,
        limit: int | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._monitors, self._on_result, self._uniform = monitors, on_result, uniform
        self._slots = asyncio.Semaphore(limit or sockets_at_once())
        self._tasks: dict[Target, asyncio.Task[None]] = {}

    def set_targets(self, targets: frozenset[Target]) -> None:
        """Say what is to be checked from now on: running ones go on, new ones start, the others end at once."""
        for target in self._tasks.keys() - targets:
            self._tasks.pop(target).cancel()
        for target in targets - self._tasks.keys():
            self._tasks[target] = asyncio.create_task(self._run(target), name=f"monitor {target.address}")

    async def close(self) -> None:
        """End all checks."""
        tasks = list(self._tasks.values())
        self.set_targets(frozenset())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, target: Target) -> None:
        clock = asyncio.get_running_loop().time
        start = clock() + self._uniform(0, min(target.interval, SPREAD))
        while True:
            await asyncio.sleep(start - clock())
            async with self._slots:
                result = await self._check(target)
            try:
                self._on_result(target, result)
            except Exception:
                log.exception("result not taken", extra={"target": f"{target.address}:{target.port}"})
            missed = math.floor((clock() - start) / target.interval)
            start += target.interval * (1 + max(0, missed))

    async def _check(self, target: Target) -> Result:
        monitor = self._monitors.get(target.type)
        if monitor is None:
            return Result(False, Reason.MONITOR_ERROR, f"this version has no monitor of type {target.type}")
        try:
            async with asyncio.timeout(target.timeout + GRACE):
                return await monitor.check(target)
        except TimeoutError:
            return Result(False, Reason.MONITOR_ERROR, f"the {target.type} monitor did not come to an end")
        except Exception as error:  # a fault of ours is said, and counts as down
            log.exception("monitor failed", extra={"target": f"{target.address}:{target.port}"})
            return Result(False, Reason.MONITOR_ERROR, f"{type(error).__name__}: {error}"[:200])
