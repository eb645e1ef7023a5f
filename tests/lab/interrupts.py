"""Ctrl-C, a polite kill and a closed terminal are one and the same to the lab: end, tidy up, go."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def listen(deaf: float = 2.0) -> None:
    """Each of them raises KeyboardInterrupt, and then none does for `deaf` seconds: an impatient second one would
    else end what tidies up after the first before it has begun. What the caller ignores (nohup) stays ignored."""
    last = -deaf

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= deaf:
            last = now
            raise KeyboardInterrupt

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def ignore() -> None:
    """All is done: Python gives signals their default meaning back while it ends, and its code would be lost."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """What is inside runs to its end; an interruption counts afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
