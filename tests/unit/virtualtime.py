"""An event loop whose clock jumps to the next timer: hours of back-off pass in milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Never waits. A loop with nothing to do, now or later, is a test that would hang: it raises."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]  # private to asyncio
        if not ready:
            timers = [timer._when for timer in scheduled if not timer._cancelled]
            if not timers:
                raise RuntimeError("every task waits for something that will never happen")
            self._now = max(self._now, min(timers))
        super()._run_once()  # type: ignore[misc]  # private to asyncio


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()
