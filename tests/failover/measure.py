"""One failover under load, measured: many connections, and two flows that never rest."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise

from failover.quiet import guests_first
from failover.running import Program, begin, folder_of, held, running, used, watched
from failover.subject import ECHO, Subject
from lab.console import LabError
from lab.lab import Lab

SPREAD = 0.003
"""Seconds from using one connection to using the next, from the failover on: all at once would keep the guest busy for
as long as the failover takes."""
SETTLED = 0.5
"""Seconds after the last of the connections has answered until the flows are ended."""
QUIET = 0.9
"""Seconds before a failover whose longest gap tells what the machine alone does."""
AFTERWARDS = 0.1
"""Seconds after the new owner's first announcement in which a gap that begins counts as its own."""
MARGIN = 0.02
"""Seconds by which the clocks of guest and machine may differ."""


@dataclass(frozen=True)
class Age:
    """How old connections are at the crash: seconds since the last was opened, about, and whether any was used."""

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
class Used:
    """What became of the connections of one age that were used after a failover; times in seconds."""

    count: int
    echo: int
    reset: int
    silence: int
    longest: float
    """From writing to the echo, the slowest of those that were not lost."""
    timer: float = 0.0
    """What its kernel waited, when it was written to, before it would send again what was not answered."""

    @property
    def lost(self) -> int:
        return self.count - self.echo


@dataclass(frozen=True)
class Seen:
    """What clients saw of a failover; times in seconds."""

    used: Mapping[str, Used]
    """By the name of their age."""
    pause: float
    """Longest time between two echoes of a TCP stream; of a planned failover, across the move of the address."""
    dark: float
    """The same between two answers by UDP: how long nothing got through."""
    floor: float
    """The same as `pause` just before: what the machine alone does."""
    unanswered: int = 0
    """Datagrams of that time, one every 5 ms: what a stalled machine delays comes later, what nobody forwards never."""
    began: float = 0.0
    """From the failover to the begin of that pause, in seconds."""
    timer: float = 0.0
    """What the stream's kernel waited, when that pause began, before it would send again what was not answered."""
    stream: Sequence[float] = ()
    """When the stream's echoes came, from the failover on (negative: before)."""

    @property
    def lost(self) -> int:
        return sum(one.lost for one in self.used.values())

    @property
    def slowest(self) -> float:
        return max(one.longest for one in self.used.values())

    @property
    def slowest_timer(self) -> float:
        """Of the slowest connection."""
        return max(self.used.values(), key=lambda one: one.longest).timer


def longest_gap(times: Sequence[float], since: float, until: float = float("inf")) -> float:
    """The longest stretch between two neighbours that ends between these times."""
    return max((later - earlier for earlier, later in pairwise(times) if since < later < until), default=0.0)


def gap_across(times: Sequence[float], since: float, until: float) -> tuple[float, float]:
    """The longest stretch between two neighbours that has a moment between these times in it, and when it began."""
    spans = ((later - earlier, earlier) for earlier, later in pairwise(times) if later > since and earlier < until)
    return max(spans, default=(0.0, since))


def crash(lab: Lab, subject: Subject, vip: str, ages: Sequence[Age], count: int = 1000) -> Seen:
    """The active director dies under so many connections, evenly of these ages, and is switched on again afterwards."""
    subject.table_empty()
    active = subject.active()
    try:
        with guests_first(lab):
            return _measured(lab, vip, ages, count // len(ages), lambda: subject.crash(active)).seen()
    finally:
        subject.restore(active)


def hand_over(lab: Lab, subject: Subject, vip: str, count: int = 1000) -> Seen:
    """A planned failover under so many connections.

    Nothing says when it happens but the announcement of the new owner. What else the guests do in these seconds (the
    former owner forgets its connections, and gets them anew) keeps clients waiting on two processors as long as the
    move itself, so only the gap that the move is in counts.
    """
    subject.table_empty()
    before = subject.active()

    def act() -> float:
        began = time.time()
        subject.hand_over()
        return began

    with guests_first(lab), watched(lab, vip) as history:
        run = _measured(lab, vip, [Age("planned", 3)], count, act)
    moved = [one.time for one in history.seen if one.owner != before and one.time > run.at]
    left = [one.time for one in history.seen if one.owner == before and one.time < min(moved, default=0)]
    if not moved or not left:
        raise LabError(f"{vip} did not move from {before} within {run.ends - run.at:.0f} s")
    return run.seen(max(left), min(moved) + AFTERWARDS)


@dataclass(frozen=True)
class _Run:
    """What programs wrote down of one failover; `times` of answers by kind of flow, and of datagrams without one."""

    at: float
    ends: float
    calm: bool
    """Whether nothing was opened just before."""
    used: Mapping[str, Used]
    times: Mapping[str, Sequence[float]]
    timers: Sequence[float]
    """Of each echo of the stream."""

    def seen(self, since: float | None = None, until: float = math.inf) -> Seen:
        """What comes of it; gaps count that have a moment between these times in them."""
        stream, datagrams = self.times["stream"], self.times["datagrams"]
        since = self.at - MARGIN if since is None else since
        pause, began = gap_across([*stream, self.ends], since, until)
        return Seen(
            used=self.used,
            pause=pause,
            dark=gap_across([*datagrams, self.ends], since, until)[0],
            floor=longest_gap(stream, self.at - QUIET, self.at - MARGIN) if self.calm else 0.0,
            unanswered=sum(since <= one <= until for one in self.times["lost"]),
            began=began - self.at,
            timer=dict(zip(stream, self.timers, strict=True)).get(began, 0.0),
            stream=[round(one - self.at, 4) for one in stream],
        )


def _measured(lab: Lab, vip: str, ages: Sequence[Age], count: int, act: Act) -> _Run:
    files = {kind: folder_of(lab) / f"{kind}.json" for kind in ("stream", "datagrams", "lost", "timers")}
    with ExitStack() as stack:
        flows = {
            kind: stack.enter_context(
                running(lab, "clients.py", kind, vip, ECHO, f"times={files[kind]}", f"{beside}={files[beside]}")
            )
            for kind, beside in (("stream", "timers"), ("datagrams", "lost"))
        }
        many = _opened(lab, vip, ages, count, stack)
        at = act()
        for one in many.values():
            begin(one)
        results = {name: used(one) for name, one in many.items()}
        time.sleep(SETTLED)
        ends = time.time()
        for kind, flow in flows.items():
            flow.stop(kind)
    shift = lab.guest_of("client").behind()
    written = {kind: json.loads(file.read_text()) for kind, file in files.items()}
    timers = written.pop("timers")
    times = {kind: [one + shift for one in found] for kind, found in written.items()}
    fields = ("echo", "reset", "silence", "longest", "timer")
    became = {age.name: Used(count, **{field: results[age.name][field] for field in fields}) for age in ages}
    return _Run(at, ends, min(age.seconds for age in ages) >= QUIET, became, times, timers)


def _opened(lab: Lab, vip: str, ages: Sequence[Age], count: int, stack: ExitStack) -> dict[str, Program]:
    """So many connections of each age, the oldest first; returns when the youngest are old enough.

    Those that were only begun are the first of the oldest, so that what comes between does not make the used older.
    """
    many: dict[str, Program] = {}
    spread = f"spread={SPREAD * count * len(ages):g}"
    took, before = 0.0, 0.0
    for age in sorted(ages, key=lambda one: (-one.seconds, not one.handshake)):
        time.sleep(max(0.0, before - age.seconds - took))
        many[age.name] = stack.enter_context(held(lab, vip, count, spread, *age.options))
        took, before = many[age.name].event("ready", 1)["seconds"], age.seconds
    time.sleep(before)
    return many
