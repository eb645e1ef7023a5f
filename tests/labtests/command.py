"""A program run as from a shell, watched while it runs."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from labtests import machine

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0
"""Seconds that any single wait may take: only a hung command or a starved machine comes near it."""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line of a failure; fails when there is none, more than one, or a traceback."""
        lines = self.err.splitlines()
        assert len(lines) == 1, f"not one clear line: {self}"
        return lines[0]


class Command:
    """A program of the person's: a session of its own, so that a signal to its group is Ctrl-C in a terminal."""

    def __init__(self, words: list[str], scratch: Path, env: dict[str, str] | None = None, terminal: int | None = None):
        self._out, self._err = (scratch / f"{time.monotonic_ns()}.{kind}" for kind in ("out", "err"))
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                words,
                cwd=CHECKOUT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL if terminal is None else terminal,
                stdout=out if terminal is None else terminal,
                stderr=err if terminal is None else terminal,
                start_new_session=True,
                preexec_fn=partial(_as_in_a_shell, terminal),
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def until(self, check: Callable[[], object], what: str) -> None:
        """Wait while the command runs; fails when it ends first."""
        deadline = time.monotonic() + PATIENCE
        while not check():
            assert self.running, f"ended before: {what}\n{self.out}{self._err.read_text()}"
            assert time.monotonic() < deadline, f"not in {PATIENCE:g} s: {what}\n{self.out}"
            time.sleep(0.01)

    def said(self, text: str) -> None:
        self.until(lambda: text in self.out, f"a line with {text!r}")

    def listens(self) -> None:
        """Until it catches SIGTERM, so it has begun its work and not only the interpreter its own."""
        self.until(lambda: machine.caught_signals(self.process.pid) >> (signal.SIGTERM - 1) & 1, "signals are caught")

    def signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def finish(self) -> Ended:
        self.process.wait(PATIENCE)
        return Ended(self.process.returncode, self.out, self._err.read_text())

    def close(self) -> None:
        if self.running:
            self.signal_group(signal.SIGKILL)
            self.process.wait(10)


def _as_in_a_shell(terminal: int | None) -> None:
    """A test run in the background ignores Ctrl-C, and its children would too; a terminal is made the session's."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if terminal is not None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
