"""Long-lived processes on the machine: start them, know them again later, end them with all their children.

`lab up` returns while its processes live on, so a process is known by pid *and* start time (pids are reused),
and each carries a mark in its environment, so that a lab can be cleaned up even when its notes are lost.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM

from lab.console import LabError, wait_until

MARK = "VIRTUALSERVER_LAB"
"""Environment variable of every process of a lab; its value is the lab's folder."""


@dataclass(frozen=True)
class Daemon:
    """A process in a session of its own, noted in `<base>/run/<name>.json`. Frozen: a restart makes a new value."""

    name: str
    pid: int
    started: int
    log: Path

    @classmethod
    def start(
        cls, name: str, command: list[str], base: Path, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> "Daemon":
        """Start with output appended to `<base>/logs/<name>.log`, marked as belonging to `base`; what it leaves
        in its temporary folder, because it may be killed, is in `<base>/tmp`."""
        note, log, scratch = base / "run" / f"{name}.json", base / "logs" / f"{name}.log", base / "tmp"
        for folder in (note.parent, log.parent, scratch):
            folder.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd or base,
                env={**environment(base), "TMPDIR": str(scratch), **(env or {})},
                start_new_session=True,
            )
        process.returncode = 0  # reaped by `alive`; keeps Popen from warning about a child that outlives it
        daemon = cls(name, process.pid, start_time(process.pid) or 0, log)
        note.write_text(json.dumps({"pid": daemon.pid, "started": daemon.started}))
        return daemon

    @classmethod
    def noted(cls, name: str, base: Path) -> "Daemon | None":
        """The process that an earlier command started; it may have died since."""
        try:
            note = json.loads((base / "run" / f"{name}.json").read_text())
            return cls(name, int(note["pid"]), int(note["started"]), base / "logs" / f"{name}.log")
        except (OSError, ValueError, KeyError, TypeError):  # a disk was full, a person has edited it
            return None

    @property
    def alive(self) -> bool:
        """It runs; when it has died and was our child, it is off the process table now."""
        running = start_time(self.pid) == self.started
        if not running:
            _reap(self.pid)
        return running

    def signal(self, number: int) -> None:
        """To the whole group; a process that is already gone is not an error."""
        if self.alive:
            os.killpg(self.pid, number)

    def stop(self, number: int = SIGTERM, grace: float = 10.0) -> None:
        """Ask, wait, then kill: returns when the process is gone."""
        self.signal(number)
        for _ in wait_until(grace):
            if not self.alive:
                return
        self.signal(SIGKILL)
        for _ in wait_until(5):
            if not self.alive:
                return
        raise LabError(f"{self.name} (pid {self.pid}) does not die")

    def last_words(self) -> str:
        return last_lines(self.log, 15)


def last_lines(log: Path, count: int) -> str:
    """The end of a log, indented to stand under a message."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n  ".join(text.splitlines()[-count:])


def _reap(pid: int) -> None:
    """Take a dead child off the process table; one that another command started is not our child."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def environment(folder: Path) -> dict[str, str]:
    """Ours, with the lab's mark: also a program that is only called for a moment has to go with the lab, because
    it may outlive a caller that was killed."""
    return {**os.environ, MARK: str(folder)}


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which the process started; None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def marked(folder: Path) -> list[int]:
    """All processes of the lab in `folder`, found without any notes.

    The guests' helper processes have no environment left (they unmap everything), but they run the
    guest's program in the lab's folder.
    """
    found = []
    for entry in _others():
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            ours = _mark(entry) == str(folder) or _guest_part(entry, folder)
            if ours and start_time(int(entry.name)) is not None:
                found.append(int(entry.name))
    return sorted(found)


def marked_folders() -> list[Path]:
    """The folders of all labs that have a process on this machine."""
    found = set()
    for entry in _others():
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if mark := _mark(entry):
                found.add(Path(mark))
    return sorted(found)


def with_setting(name: str) -> dict[int, str]:
    """The processes that were started with that environment variable, each the first of its group, and its value."""
    found = {}
    for entry in _others():
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if (value := _setting(entry, name)) and os.getpgid(int(entry.name)) == int(entry.name):
                found[int(entry.name)] = value
    return found


def affinity(pid: int) -> set[int]:
    """The processors that it may use; none when it is gone."""
    with suppress(ProcessLookupError):
        return os.sched_getaffinity(pid)
    return set()


def _others() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()]


def _mark(entry: Path) -> str:
    return _setting(entry, MARK)


def _setting(entry: Path, name: str) -> str:
    for setting in (entry / "environ").read_bytes().split(b"\0"):
        if setting.startswith(name.encode() + b"="):
            return setting.partition(b"=")[2].decode()
    return ""


def _guest_part(entry: Path, folder: Path) -> bool:
    if (entry / "exe").readlink().name.removesuffix(" (deleted)") != "linux.uml":
        return False
    home = Path(str((entry / "cwd").readlink()).removesuffix(" (deleted)"))
    return home == folder or folder in home.parents


def command_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "?"


def kill_all(pids: Iterable[int], patience: float = 10.0) -> None:
    """SIGKILL; returns when none is left."""
    left = list(pids)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)
    deadline = time.monotonic() + patience
    while left and time.monotonic() < deadline:
        gone = [pid for pid in left if start_time(pid) is None]
        for pid in gone:
            _reap(pid)
        left = [pid for pid in left if pid not in gone]
        if left:
            time.sleep(0.02)
    if left:
        raise LabError(f"processes do not die: {' '.join(map(str, left))}")
