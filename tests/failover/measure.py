"""One failover under load, measured: many connections, and two flows that never rest."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from failover.quiet import guests_first
from failover.running import folder_of, held, running, use
from failover.subject import ECHO, Subject
from lab.lab import Lab

SPREAD = 3
"""Seconds over which connections are used, from the failover on: all at once would keep the guest busy for as long
as the failover takes."""
SETTLED = 0.5
"""Seconds after the last of the connections has answered until the flows are ended."""
QUIET = 0.9
"""Seconds before a failover whose longest gap tells what the machine alone does."""
MARGIN = 0.02
"""Seconds by which the clocks of guest and machine may differ."""


@dataclass(frozen=True)
class Age:
    """How old connections are at the crash: seconds since the last was opened, and whether any was used."""

    name: str
    seconds: float
    handshake: bool = False

    @property
    def options(self) -> list[str]:
        return ["handshake"] if self.handshake else []


Act = Callable[[], float]
"""What makes a director lose its addresses; returns the machine's time at which it did."""
AGES = [Age("0s", 0), Age("1s", 1), Age("3s", 3), Age("handshake", 3, handshake=True)]


@dataclass(frozen=True)
class Seen:
    """What clients saw of a failover; times in seconds."""

    count: int
    echo: int
    reset: int
    silence: int
    slowest: float
    """From writing to the echo, the slowest of the connections that were not lost."""
    pause: float
    """Longest time between two echoes of a TCP stream."""
    dark: float
    """Longest time between two answers by UDP: how long nothing got through."""
    floor: float
    """The same as `pause` just before: what the machine alone does."""
    opening: float
    stream: Sequence[float] = ()
    """When the stream's echoes came, from the failover on (negative: before)."""

    @property
    def lost(self) -> int:
        return self.count - self.echo


def longest_gap(times: Sequence[float], since: float, until: float = float("inf")) -> float:
    """The longest stretch between two neighbours that ends between these times."""
    pairs = zip(times, times[1:], strict=False)
    return max((later - earlier for earlier, later in pairs if since < later < until), default=0.0)


def crash(lab: Lab, subject: Subject, vip: str, age: Age, count: int = 1000) -> Seen:
    """The active director dies under so many connections of that age, and is switched on again afterwards."""
    subject.table_empty()
    active = subject.active()
    try:
        with guests_first(lab):
            return _measured(lab, vip, age, count, lambda: subject.crash(active))
    finally:
        subject.restore(active)


def hand_over(lab: Lab, subject: Subject, vip: str, count: int = 1000) -> Seen:
    """A planned failover under so many connections."""
    subject.table_empty()

    def act() -> float:
        began = time.time()
        subject.hand_over()
        return began

    with guests_first(lab):
        return _measured(lab, vip, Age("planned", 3), count, act)


def _measured(lab: Lab, vip: str, age: Age, count: int, act: Act) -> Seen:
    files = {kind: folder_of(lab) / f"{kind}.json" for kind in ("stream", "datagrams")}
    with ExitStack() as stack:
        flows = {
            kind: stack.enter_context(running(lab, "clients.py", kind, vip, ECHO, f"times={file}"))
            for kind, file in files.items()
        }
        many = stack.enter_context(held(lab, vip, count, f"spread={SPREAD}", *age.options))
        opening = many.event("ready", 1)["seconds"]
        time.sleep(age.seconds)
        at = act()
        used = use(many)
        time.sleep(SETTLED)
        ends = time.time()
        for kind, flow in flows.items():
            flow.stop(kind)
    shift = lab.guest_of("client").behind()
    times = {kind: [one + shift for one in json.loads(Path(file).read_text())] for kind, file in files.items()}
    return Seen(
        count=count,
        **{name: int(used[name]) for name in ("echo", "reset", "silence")},
        slowest=used["longest"],
        pause=longest_gap([*times["stream"], ends], at - MARGIN),
        dark=longest_gap([*times["datagrams"], ends], at - MARGIN),
        floor=longest_gap(times["stream"], at - QUIET, at - MARGIN) if age.seconds >= 1 else 0.0,
        opening=opening,
        stream=[round(one - at, 4) for one in times["stream"]],
    )
