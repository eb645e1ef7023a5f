"""The lab's command line, driven from outside as a person drives it, and a search for what it left.

The search shares nothing with the lab's own cleaning: it looks at the machine.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lab import names, network
from labtests import machine
from labtests.command import CHECKOUT, Command, Ended

HOSTS = ("client", "director-1", "director-2", "rs-1", "rs-2", "rs-3")
"""Those that whoever writes manifests and tests may rely on; there may be more."""


@dataclass(frozen=True)
class OwnLab:
    """A lab of the tests' own: its name, its folder, a place for what the commands write."""

    name: str
    folder: Path
    scratch: Path

    @property
    def options(self) -> list[str]:
        return ["--name", self.name, "--folder", str(self.folder)]

    @property
    def remedy(self) -> str:
        """What messages tell people to type."""
        return f"run: PYTHONPATH={CHECKOUT / 'tests'} python3 -m lab down {shlex.join(self.options)}"

    @property
    def temporary(self) -> Path:
        return self.scratch / "tmp"

    @contextmanager
    def start_program(
        self, line: list[str], env: dict[str, str] | None = None, terminal: int | None = None
    ) -> Iterator[Command]:
        """Killed at the end of the block if it still runs."""
        self.temporary.mkdir(exist_ok=True)
        fixed = {"PYTHONPATH": str(CHECKOUT / "tests"), "TMPDIR": str(self.temporary)}
        command = Command(line, self.scratch, {**fixed, **(env or {})}, terminal)
        try:
            yield command
        finally:
            command.close()

    def start(self, verb: str, *words: str) -> AbstractContextManager[Command]:
        """`python -m lab VERB --name ... --folder ... WORDS`."""
        return self.start_program([sys.executable, "-m", "lab", verb, *self.options, *words])

    def make(self, task: str, *words: str) -> AbstractContextManager[Command]:
        """As from a shell, not as from the make that runs these tests."""
        line = ["make", task, *words, f"ARGS={shlex.join(self.options)}"]
        return self.start_program(line, {"MAKEFLAGS": "", "MAKELEVEL": ""})

    def run(self, verb: str, *words: str) -> Ended:
        with self.start(verb, *words) as command:
            return command.finish()

    def daemons(self) -> dict[int, str]:
        """Leaders of a session that carry the lab's mark: pid and start, to know them again."""
        shown = {pid: machine.stat(pid) for pid in machine.pids() if self._is_marked(pid)}
        return {pid: fields[19] for pid, fields in shown.items() if fields and int(fields[3]) == pid}

    def remains(self) -> list[str]:
        """Everything on this machine that belongs to the lab."""
        found = [f"process {pid} {machine.program(pid)}" for pid in machine.pids() if self._is_ours(pid)]
        found += [f"link {link}" for link in self._links()]
        found += [f"mount {point}" for point in self._mounts()]
        namespaces = {path.name for path in Path("/run/netns").glob("*")}
        found += [f"namespace {name}" for name in namespaces & {host.name for host in network.HOSTS}]
        places = [self.folder, Path("/dev/shm") / f"vs-{self.name}", *self.temporary.glob("*")]
        return found + [f"file {path}" for path in places if path.exists()]

    def sweep(self) -> None:
        """Remove it without the lab's help: a test that fails must not hurt the next."""
        for _ in range(100):
            ours = [pid for pid in machine.pids() if self._is_ours(pid)]
            for pid in ours:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not ours:
                break
            time.sleep(0.02)
        for link in self._links():
            subprocess.run(["ip", "link", "delete", link], check=False)
        for point in reversed(self._mounts()):
            subprocess.run(["umount", "-l", point], check=False)
        for path in (self.folder, Path("/dev/shm") / f"vs-{self.name}", self.temporary):
            shutil.rmtree(path, ignore_errors=True)

    def _links(self) -> list[str]:
        return [path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith(f"vs-{self.name}-")]

    def _mounts(self) -> list[str]:
        points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        return [point for point in points if f"{point}/".startswith(f"{self.folder}/")]

    def _is_marked(self, pid: int) -> bool:
        return f"VIRTUALSERVER_LAB={self.folder}".encode() in machine.read(pid, "environ").split(b"\0")

    def _is_ours(self, pid: int) -> bool:
        inside = f"{self.folder}/".encode() in machine.read(pid, "cmdline")
        return (inside or self._is_marked(pid) or machine.works_inside(pid, self.folder)) and machine.is_alive(pid)


@contextmanager
def own_lab(scratch: Path) -> Iterator[OwnLab]:
    """A lab that is down, and is down again afterwards, whatever happens.

    Always of one name in one folder, so that what a killed run left is removed by the next; and of another name
    than the lab of the other tests.
    """
    name = names.beside(names.of_tests(), "own")
    made = OwnLab(name, CHECKOUT / f".lab-{name}", scratch)
    made.sweep()
    try:
        yield made
    finally:
        made.sweep()


@contextmanager
def small_disk(own: OwnLab, megabytes: int) -> Iterator[OwnLab]:
    """The same lab with its folder on a file system of that size, which is gone afterwards."""
    point = own.folder / "disk"
    point.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "lab-test", str(point)], check=True)
    inside = replace(own, folder=point / "lab")
    try:
        yield inside
    finally:
        inside.sweep()
        subprocess.run(["umount", "-l", str(point)], check=True)
