"""One `up` or `down` at a time for a folder: an abstract Unix socket, which leaves no file and dies with its holder.

The holder listens on it, so whoever waits can ask the kernel for its process (SO_PEERCRED, unix(7)).
"""

import hashlib
import os
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.console import LabError, say, wait_until


@contextmanager
def exclusive(folder: Path, patience: float = 180, insist: bool = False) -> Iterator[None]:
    """Wait up to that many seconds for the other command; `insist` ends it after a few, also a stopped one.

    Raises LabError when it is still there.
    """
    with socket.socket(socket.AF_UNIX) as lock:
        if not _taken(lock, folder, 1):
            _wait(lock, folder, patience, insist)
        lock.listen()
        yield


def holder(folder: Path) -> int | None:
    """The process that is bringing the lab in that folder up or down now."""
    with socket.socket(socket.AF_UNIX) as asking, suppress(OSError):
        asking.settimeout(1)
        asking.connect(_address(folder))
        return int(struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
    return None


def _address(folder: Path) -> str:
    return "\0virtualserver-lab-" + hashlib.sha256(str(folder).encode()).hexdigest()


def _wait(lock: socket.socket, folder: Path, patience: float, insist: bool) -> None:
    who = f"the command (pid {holder(folder)}) that is bringing the lab in {folder} up or down"
    say(f"waiting for {who}")
    if _taken(lock, folder, 2 if insist else patience):
        return
    if insist:
        say(f"ending {who}")
        # A child that was stopped before it became another program holds the lock as well, and outlives its parent.
        children = descendants(holder(folder))
        for number, grace in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
            _end(holder(folder), number)
            for child in children:
                _end(child, signal.SIGCONT if number == signal.SIGTERM else number)
            if _taken(lock, folder, grace):
                return
    raise LabError(f"no end of {who}; end it first (Ctrl-C)")


def _taken(lock: socket.socket, folder: Path, seconds: float) -> bool:
    for _ in wait_until(seconds):
        with suppress(OSError):
            lock.bind(_address(folder))
            return True
    return False


def descendants(pid: int | None) -> list[int]:
    """The processes that a process has started, and those that they have."""
    with suppress(OSError):
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [one for child in map(int, listed) for one in (child, *descendants(child))]
    return []


def _end(pid: int | None, number: int) -> None:
    """A stopped process (Ctrl-Z) takes a signal only when it goes on."""
    if pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
