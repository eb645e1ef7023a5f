"""How long to wait before trying again: own back-off (the client library has none) and a gate for outages."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

Uniform = Callable[[float, float], float]


class Backoff:
    """Exponential waits with jitter, in seconds: each is between half and the whole of its step."""

    def __init__(self, first: float = 0.2, longest: float = 10.0, uniform: Uniform = random.uniform) -> None:
        self._first, self._longest, self._uniform = first, longest, uniform
        self._step = first

    def next(self) -> float:
        """Return the next wait; each step is twice the one before, up to the longest."""
        step, self._step = self._step, min(self._step * 2, self._longest)
        return self._uniform(step / 2, step)

    def reset(self) -> None:
        """Start again with the first wait: something worked."""
        self._step = self._first


class Gate:
    """Holds everyone back while the API server is down, so that one probe a second asks for it, not every task.

    ``probe`` answers True when the API server is ready; it must be bounded in time and raise nothing.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[bool]],
        interval: float = 1.0,
        spread: float = 0.3,
        uniform: Uniform = random.uniform,
    ) -> None:
        self._probe, self._interval, self._spread, self._uniform = probe, interval, spread, uniform
        self._probing: asyncio.Task[bool] | None = None

    async def passed(self) -> bool:
        """Wait until the API server answers; returns True when it really was away (a probe failed too).

        Nodes that waited together go on spread over ``spread`` seconds.
        """
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._until_ready(), name="api-probe")
        was_away = await asyncio.shield(self._probing)
        await asyncio.sleep(self._uniform(0, self._spread))
        return was_away

    async def _until_ready(self) -> bool:
        failed = 0
        await asyncio.sleep(self._uniform(0.05, 0.1))
        while not await self._probe():
            failed += 1
            if failed == 1:
                log.warning("the API server does not answer; going on with what is known")
            await asyncio.sleep(self._uniform(self._interval / 2, self._interval))
        if failed:
            log.info("the API server answers again", extra={"probes": failed})
        return failed > 0

    async def close(self) -> None:
        """Stop probing."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
