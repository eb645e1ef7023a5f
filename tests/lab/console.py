"""What a person sees: one line per step with the time it took, one line per error.

Nothing here decides anything; every other module of the lab may use it.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress


class LabError(Exception):
    """Something a person has to know or do; its text is one clear message and is shown without a traceback."""


def say(text: str) -> None:
    """Print a line at once, also into a pipe, so that progress is seen when it happens."""
    print(text, flush=True)


def complain(text: str) -> None:
    """An error, even when nobody is there to read it any more."""
    with suppress(OSError):
        print(f"lab: {text}", file=sys.stderr, flush=True)


class Steps:
    """A running list of steps: `[ 12.3 s] API server: ready at https://...`; the time is since the start."""

    def __init__(self, quiet: bool = False) -> None:
        self.began = time.monotonic()
        self.quiet = quiet

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def note(self, title: str, detail: str) -> None:
        if not self.quiet:
            say(f"[{self.elapsed:6.1f} s] {title}: {detail}")


def wait_until(seconds: float) -> Iterator[float]:
    """Yield remaining seconds, with a short pause between, until the time is over: every wait is bounded."""
    deadline = time.monotonic() + seconds
    pause = 0.02
    while (left := deadline - time.monotonic()) > 0:
        yield left
        time.sleep(min(pause, 0.25))
        pause *= 1.3
