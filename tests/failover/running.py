"""Clients and recorder as running programs on the lab's host `client`: start, wait until ready, ask what they saw."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM, SIGUSR1
from typing import Any

from failover.history import History, sightings
from failover.subject import ECHO
from lab.console import LabError
from lab.hosts import Process
from lab.lab import Lab

HERE = Path(__file__).parent
EVERY = 50
"""Milliseconds between two questions who has an address."""
_serial = itertools.count(time.time_ns())


class Program:
    """One of the scripts of this folder; what it says are lines of JSON in its log."""

    def __init__(self, lab: Lab, script: str, *words: object) -> None:
        self.script = script
        command = [sys.executable, "-S", str(HERE / script), *map(str, words)]
        name = f"{Path(script).stem}-{next(_serial)}"
        self.process: Process = lab.host("client").spawn(command, name)

    def events(self) -> list[dict[str, Any]]:
        """Whole lines only: the last one may still be being written."""
        whole = self.process.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def event(self, name: str, seconds: float) -> dict[str, Any]:
        """The newest event of that name, once there is one."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if found := [event for event in self.events() if event["event"] == name]:
                return found[-1]
            time.sleep(0.05)
        raise LabError(f"{self.script}: no `{name}` after {seconds:g} s; see {self.process.log}")

    def stop(self, name: str, seconds: float = 30) -> dict[str, Any]:
        """End it, and return what it saw."""
        self.process.signal(SIGTERM)
        return self.event(name, seconds)

    def end(self) -> None:
        if self.process.running:
            with suppress(LabError):  # it has just ended by itself
                self.process.signal(SIGKILL)
            self.process.wait(10)


@contextmanager
def running(lab: Lab, script: str, *words: object) -> Iterator[Program]:
    """From when it is ready until the end of the block."""
    program = Program(lab, script, *words)
    try:
        program.event("ready", 90)
        yield program
    finally:
        program.end()


@contextmanager
def held(lab: Lab, vip: str, count: int, *options: str) -> Iterator[Program]:
    """So many connections; LabError unless all of them stand."""
    with running(lab, "clients.py", "hold", vip, ECHO, count, *options) as program:
        ready = program.event("ready", 1)
        if ready["opened"] != count:
            raise LabError(f"only {ready['opened']} of {count} connections to {vip} stand: {ready['failed']}")
        yield program


def begin(program: Program) -> None:
    """One byte on each connection from now on, over as many seconds as the option `spread` says."""
    program.process.signal(SIGUSR1)


def used(program: Program) -> dict[str, Any]:
    """What came of it, once all have answered or long enough not."""
    return program.event("used", 60)


@contextmanager
def watched(lab: Lab, *addresses: str, every: int = EVERY) -> Iterator[History]:
    """Who holds these addresses during the block, as the client's segment sees it; complete at the end of the block.

    It is asked `every` so many milliseconds; with 0 only what they say unasked counts."""
    history = History()
    file = folder_of(lab) / f"sightings-{next(_serial)}.json"
    with running(lab, "recorder.py", file, "eth0", every, *addresses) as recorder:
        try:
            yield history
        finally:
            recorder.stop("recorded")
            rows = json.loads(file.read_text())
            history.seen += sightings(rows, lab.guest_of("client").behind())


def state(lab: Lab, director: str) -> dict[str, Any]:
    """What the director's kernel holds, for the history."""
    script = (
        "ip -o address; echo --; ipvsadm -Sn; echo --; ipvsadm -L --daemon; echo --; grep -c TCP /proc/net/ip_vs_conn"
    )
    parts = lab.host(director).run(script, check=False).out.split("--\n")
    held = sorted(line.split()[3] for line in parts[0].splitlines())
    return {
        "director": director,
        "addresses": held,
        "services": parts[1].splitlines(),
        "daemons": parts[2].splitlines(),
        "connections": int(parts[3].strip() or 0),
    }


def folder_of(lab: Lab) -> Path:
    """Where clients write; it is the guests' as well."""
    folder = lab.folder / "clients"
    folder.mkdir(exist_ok=True)
    return folder
