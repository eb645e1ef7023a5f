"""Run a long command so that a person sees it live, can stop it, and learns why it failed."""

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO

from lab.console import LabError, say

INTERVAL = 5.0
"""Seconds between lines of progress."""
GRACE = 10.0
"""Seconds that an interrupted command has to end by itself."""
TAIL = 20
"""How many of the command's last lines an error shows."""


def run_visibly(
    title: str,
    command: list[str],
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    scratch: Path | None = None,
) -> list[str]:
    """Run to the end and return the last lines; silence or chatter, one line of progress every few seconds.

    The command gets a session of its own and is ended with all its children when anything interrupts us:
    a compiler left running would hold both processors. With `scratch` its temporary files go there.
    """
    tail: deque[str] = deque(maxlen=TAIL)
    if shutil.which("setpriv"):  # it shall not outlive us even when we are killed without a word
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
        env = {**(os.environ if env is None else env), "TMPDIR": str(scratch), "GOTMPDIR": str(scratch)}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        cwd=cwd,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            _follow(title, process.stdout, tail)
            code = process.wait()
        except BaseException:
            _end(process)
            raise
    if code != 0 and (full := [line for line in tail if "no space left on device" in line.lower()]):
        raise LabError(f"{title} failed: the disk is full ({full[-1]}); make room and try again")
    if code != 0:
        raise LabError(f"{title} failed with code {code}; its last lines:\n  " + "\n  ".join(tail))
    return list(tail)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Politely first: apt-get leaves packages half installed when it is killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def _follow(title: str, stream: IO[bytes], tail: deque[str]) -> None:
    began = last = time.monotonic()
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            if selector.select(timeout=1.0):
                data = os.read(stream.fileno(), 65536)
                if not data:
                    tail.append(rest.decode(errors="replace"))
                    return
                *lines, rest = (rest + data).split(b"\n")
                tail.extend(text for line in lines if (text := line.decode(errors="replace").strip()))
            now = time.monotonic()
            if now - last >= INTERVAL:
                last = now
                say(f"{title}: {now - began:.0f} s  {tail[-1][:90] if tail else ''}".rstrip())
