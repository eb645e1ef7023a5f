"""The machine as it is: its processes, and a disk that is full. Shares nothing with the lab's own search."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("ab", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with suppress(OSError):
                while file.write(b"0" * size):
                    pass


def is_alive(pid: int) -> bool:
    return bool(stat(pid))


def working_inside(folder: Path) -> list[int]:
    """Processes whose working directory is in that folder, also when it has been removed."""
    return [pid for pid in pids() if works_inside(pid, folder) and is_alive(pid)]


def child_named(parent: int, *names: str) -> int | None:
    """A child of that process that runs one of these programs."""
    for pid in pids():
        fields = stat(pid)
        if fields and int(fields[1]) == parent and program(pid) in names:
            return pid
    return None


def works_inside(pid: int, folder: Path) -> bool:
    with suppress(OSError):
        return f"{Path(f'/proc/{pid}/cwd').readlink()}/".startswith((f"{folder}/", f"{folder} (deleted)/"))
    return False


def pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and int(path.name) != os.getpid()]


def read(pid: int, name: str) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def stat(pid: int) -> list[str]:
    """The fields after the name, of proc_pidstat(5); none when the process is gone or a zombie."""
    fields = read(pid, "stat").decode().rpartition(")")[2].split()
    return [] if fields[:1] in (["Z"], ["X"]) else fields


def program(pid: int) -> str:
    return read(pid, "comm").decode().strip()


def caught_signals(pid: int) -> int:
    """The set of signals that a process catches: SigCgt of proc_pid_status(5)."""
    for line in read(pid, "status").decode().splitlines():
        if line.startswith("SigCgt:"):
            return int(line.split()[1], 16)
    return 0
