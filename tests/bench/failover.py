"""(f): what connections see of a crash and of a planned failover, and how many are mirrored when packets are lost.

With the group's defaults; beside keepalived by hand, with the kernel's defaults and tuned, in the same lab and the same
run. Each crash has a table that was empty before, and its connections are used in random order: in the order in which
they were opened, `rr` would send unknown ones to the right real servers by luck.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from bench import outcomes, plot
from bench.figures import Figure, table, write
from bench.outcomes import Outcome
from failover import measure, nemesis
from failover.byhand import ByHand
from failover.measure import AGES, Age
from failover.ours import Ours
from failover.running import held
from failover.subject import DIRECTORS, WAYS, Subject, connections
from lab import interrupts
from lab.console import LabError, complain, say
from lab.interrupts import uninterrupted
from lab.lab import Lab

CONNECTIONS = 1000
"""In each crash, evenly of all ages."""
SCHEDULERS = ("rr", "mh", "wlc")
MODES = ("NAT", "DirectRouting", "TunnelIPIP")
LOSSES = (0, 1, 5)
CAUGHT_UP = 5
"""Seconds after the last connection at which the tables are compared."""
PLOT = Path("bench-crash.svg")
MESSAGE = 1000
"""Bytes of the stream's messages, as `clients.py` has it."""

T = TypeVar("T")
Make = Callable[[Lab], Subject]
SUBJECTS: dict[str, Make] = {
    "ours": Ours,
    "keepalived": lambda lab: ByHand(lab, freeze=True),
    "keepalived, tuned": lambda lab: ByHand(lab, tuned=True, freeze=True),
}


@dataclass(frozen=True)
class Plan:
    """What is run, for each subject."""

    modes: Sequence[str]
    schedulers: Sequence[str]
    ages: Sequence[Age]
    rounds: int
    losses: Sequence[int]
    handovers: int
    beside: int = 1
    """Rounds of the peers."""
    count: int = CONNECTIONS
    drawn: bool = True
    """Whether one more crash, under one client's connection, is to be drawn."""

    def peer(self) -> Plan:
        """What is run beside it."""
        return replace(self, rounds=self.beside)


FULL = Plan(MODES, SCHEDULERS, AGES, 20, LOSSES, 10, beside=5)
"""180 crashes, of some 22 s: 20 for each mode and scheduler; 45 of each peer."""
TRIES = 3
"""A busy machine may fail to open the connections or to boot in time; that says nothing about a failover."""
QUICK = Plan(MODES[1:2], SCHEDULERS[1:2], AGES, 1, LOSSES[:1], 1)
ONCE = replace(QUICK, losses=[], drawn=False)
"""What every run of the tests measures."""


def measure_all(
    lab: Lab, plan: Plan, subjects: Sequence[str] = tuple(SUBJECTS), missed: list[str] | None = None
) -> list[Figure]:
    """Every subject in its turn. Without the first there is nothing to show; of a later one that fails, or is
    interrupted, what was measured until then counts. What was not measured is added to `missed`."""
    found: dict[str, Outcome] = {}
    missed = [] if missed is None else missed
    for number, name in enumerate(subjects):
        try:
            with _subject(lab, name) as subject:
                found[name] = Outcome()
                _measure(lab, subject, plan.peer() if number else plan, found[name], missed)
        except (Exception, KeyboardInterrupt) as error:
            if len(found) < 2 and not (name in found and found[name].crashes):
                raise
            complain(f"failover, {name}: {error!r}")
            missed.append(f"NOT MEASURED: failover, {name}, from then on: {error!r}")
            if isinstance(error, KeyboardInterrupt):
                break
    found = {name: one for name, one in found.items() if one.crashes}
    if not found:
        raise LabError("no crash could be measured")
    draw(found)
    return outcomes.figures(found)


@contextmanager
def _subject(lab: Lab, name: str) -> Iterator[Subject]:
    subject = SUBJECTS[name](lab)
    try:
        yield subject
    finally:
        with uninterrupted():
            subject.close()


def _measure(lab: Lab, subject: Subject, plan: Plan, results: Outcome, missed: list[str]) -> None:
    for mode in plan.modes:
        for scheduler in plan.schedulers:
            vip = subject.prepare(WAYS[mode], scheduler)
            for number in range(plan.rounds):
                what = f"{subject.name}: crash, {mode} {scheduler}, round {number + 1}"
                seen = _again(partial(measure.crash, lab, subject, vip, plan.ages, plan.count), what, missed)
                if seen is not None:
                    lost = ", ".join(f"{age} {one.lost}" for age, one in seen.used.items())
                    times = f"pause {seen.pause:.2f} s from {seen.began:.2f} s on"
                    times += f" (timer {seen.timer:.2f} s), slowest {seen.slowest:.2f} s"
                    times += f" (timer {seen.slowest_timer:.2f} s), dark {seen.dark:.2f} s"
                    say(f"bench: {what}: lost {lost}; {times}")
                    results.crashes.setdefault((mode, scheduler), []).append(seen)
    for number in range(plan.handovers):
        what = f"{subject.name}: planned failover {number + 1}"
        if (seen := _again(partial(measure.hand_over, lab, subject, vip, plan.count), what, missed)) is not None:
            say(f"bench: {what}: {seen.lost} lost, {seen.unanswered} datagrams, pause {seen.pause:.2f} s")
            results.handovers.append(seen)
    if plan.drawn:
        what = f"{subject.name}: to be drawn"
        results.alone = _again(partial(measure.crash, lab, subject, vip, AGES[-2:-1], 10), what, missed)
    for percent in plan.losses:
        what = f"{subject.name}: mirroring with {percent} % loss"
        if (share := _again(partial(mirrored, lab, subject, vip, percent, plan.count), what, missed)) is not None:
            say(f"bench: {what}: {share:.1f} %")
            results.mirrored[percent] = share


def _again(measured: Callable[[], T], what: str, missed: list[str]) -> T | None:
    """Once more when it could not be measured; None when not then either, which is said."""
    for _ in range(TRIES):
        try:
            return measured()
        except LabError as error:
            complain(f"not measured: {what}: {error}")
    missed.append(f"NOT MEASURED: {what}")
    return None


def mirrored(lab: Lab, subject: Subject, vip: str, percent: int, count: int) -> float:
    """Of a hundred connections of the active director, how many the standby has a few seconds later."""
    subject.table_empty()
    active = subject.active()
    standby = next(name for name in DIRECTORS if name != active)
    with nemesis.loss(lab, standby, percent, nemesis.MIRRORED), held(lab, vip, count):
        time.sleep(CAUGHT_UP)
        there, here = ({_identity(line) for line in connections(lab, name)} for name in (active, standby))
    return 100 * len(there & here) / len(there)


def draw(found: dict[str, Outcome], file: Path = PLOT) -> None:
    """One client's throughput through a crash."""
    if streams := {name: one.alone.stream for name, one in found.items() if one.alone}:
        file.write_text(plot.crash_chart(streams, MESSAGE))


def _identity(line: str) -> tuple[str, ...]:
    """Client, virtual address and real server."""
    return tuple(line.split()[1:7])


def main() -> int:
    """Only this part of the benchmarks: `python -m bench.failover [--quick] [--rounds N] [SUBJECT ...]`.

    Code 0 only if everything was measured."""
    parser = argparse.ArgumentParser(prog="bench.failover", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="one of each")
    parser.add_argument("--rounds", type=int, default=FULL.rounds, help="crashes for each mode and scheduler")
    parser.add_argument("--beside", type=int, default=FULL.beside, help="the same of all subjects but the first")
    parser.add_argument("--name", default="bench", help="of the lab")
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"of: {'; '.join(SUBJECTS)}; default: all")
    chosen = parser.parse_args()
    interrupts.listen()
    plan = QUICK if chosen.quick else replace(FULL, rounds=chosen.rounds, beside=chosen.beside)
    missed: list[str] = []
    found = in_lab(plan, chosen.subjects or tuple(SUBJECTS), chosen.name, missed)
    write(found)
    print("\n".join([table(found), *missed]))
    return 1 if missed else 0


def in_lab(
    plan: Plan,
    subjects: Sequence[str] = tuple(SUBJECTS),
    name: str = "bench",
    missed: list[str] | None = None,
) -> list[Figure]:
    """In a lab whose directors are machines of their own."""
    with (
        tempfile.TemporaryDirectory(prefix="vs-bench-", dir="/var/tmp") as folder,
        Lab(name, Path(folder) / "lab", topology="three") as lab,
    ):
        return measure_all(lab, plan, subjects, missed)


if __name__ == "__main__":
    sys.exit(main())
