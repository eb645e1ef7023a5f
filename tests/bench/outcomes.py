"""What failovers came to, as figures; pure."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.figures import Figure
from failover.measure import Seen, Used

LIMIT = (
    "guests and everything else on the machine share its processors, so a pause is what it would be on machines of"
    " their own or more; a TCP client sends again only when its timer says so (Linux: 0.2 s later, then 0.4 s, 0.8 s"
    " ...), so its pause is the time without a director (dark, seen by UDP) rounded up to that"
)
WANTED = 0.25
"""Seconds that a pause should not exceed."""
Key = tuple[str, str]
"""Mode and scheduler."""


@dataclass
class Outcome:
    """Of one subject."""

    crashes: dict[Key, list[Seen]] = field(default_factory=dict)
    handovers: list[Seen] = field(default_factory=list)
    mirrored: dict[int, float] = field(default_factory=dict)
    """Percent of the active director's connections that its standby has, by percent of packets lost."""

    alone: Seen | None = None
    """A crash with hardly any connections beside the stream: the one that is drawn."""

    def of(self, key: Key, age: str) -> list[Used]:
        """What became of connections of one age, in each crash."""
        return [seen.used[age] for seen in self.crashes.get(key, []) if age in seen.used]

    def shares(self, percent: int) -> list[float]:
        """How many of a hundred connections a standby had with that loss; empty where it was not measured."""
        return [self.mirrored[percent]] if percent in self.mirrored else []

    @property
    def all(self) -> list[Seen]:
        return [seen for many in self.crashes.values() for seen in many]


Outcomes = Mapping[str, Outcome]
"""By the subject's name; the first is ours, or the peer alone."""
Runs = Callable[[Outcome], Sequence[float]]
"""What each run came to."""
Tell = Callable[[Outcome], str]


def figures(found: Outcomes) -> list[Figure]:
    """Every row of the failover benchmark, in one order."""
    first = next(iter(found.values()))
    rows: list[Figure] = []
    for key, crashes in first.crashes.items():
        for age in crashes[0].used:
            rows += _lost("_".join(("crash_lost", *key, age)), found, lambda one, key=key, age=age: one.of(key, age))  # type: ignore[misc]  # mypy infers no lambda with defaults
    for key in first.crashes:
        rows += _pauses("_".join(("crash_pause", *key)), found, lambda one, key=key: one.crashes.get(key, []))  # type: ignore[misc]  # mypy infers no lambda with defaults
    for key in first.crashes:
        rows += _slowest("_".join(("crash_slowest", *key)), found, key)
    rows += _pauses("crash_pause_all", found, lambda one: one.all, LIMIT)
    if first.handovers:
        rows += _pauses("handover_pause", found, lambda one: one.handovers)
        rows += _lost(
            "handover_lost", found, lambda one: [used for seen in one.handovers for used in seen.used.values()]
        )
        rows += _rows(
            "handover_unanswered",
            "datagrams",
            found,
            lambda one: [seen.unanswered for seen in one.handovers],
            lambda one: f"one every 5 ms: {' '.join(str(seen.unanswered) for seen in one.handovers)}",
            "the median; what a stalled machine only delays is answered, what nobody forwards is not",
            statistics.median,
        )
    for percent in first.mirrored:
        name = f"mirrored_at_{percent}_percent_loss"
        rows += _rows(name, "%", found, lambda one, percent=percent: one.shares(percent), lambda one: "")  # type: ignore[misc]  # mypy infers no lambda with defaults
    return rows


def _rows(
    name: str,
    unit: str,
    found: Outcomes,
    runs: Runs,
    tell: Tell,
    more: str = "",
    pick: Callable[[Sequence[float]], float] = max,
) -> list[Figure]:
    """One row for each peer that was measured, the first of them under the figure's own name; the note is there.

    The worst run is the figure, unless `pick` is something else.
    """
    (first, ours), *beside = found.items()
    here, peers = list(runs(ours)), [(who, one) for who, one in beside if runs(one)]
    if not here:
        return []
    told = "; ".join(f"{who}: {words}" for who, one in ((first, ours), *peers) if (words := tell(one)))
    note = ". ".join(part for part in (told, more) if part)
    if not peers:
        return [Figure(name, pick(here), unit, f"{note} (of {first}; nothing beside it)", runs=here)]
    rows = []
    for number, (who, one) in enumerate(peers):
        row = name if who == beside[0][0] else f"{name}_beside_{_word(who)}"
        there = list(runs(one))
        rows.append(Figure(row, pick(here), unit, "" if number else note, pick(there), who, runs=here, peer_runs=there))
    return rows


def _word(name: str) -> str:
    """A subject's name as a part of a row's."""
    return re.sub("[^a-z0-9]+", "_", name)


def _lost(name: str, found: Outcomes, which: Callable[[Outcome], Sequence[Used]]) -> list[Figure]:
    """Of each run; the note has them, too."""
    return _rows(
        name, "connections", found, lambda one: [used.lost for used in which(one)], lambda one: _losses(which(one))
    )


def _pauses(name: str, found: Outcomes, which: Callable[[Outcome], Sequence[Seen]], more: str = "") -> list[Figure]:
    """The longest pause of a TCP stream."""
    return _rows(
        name, "s", found, lambda one: [seen.pause for seen in which(one)], lambda one: spread(which(one)), more
    )


def _slowest(name: str, found: Outcomes, key: Key) -> list[Figure]:
    """From writing to the echo: the slowest of all connections of each run."""
    return _rows(
        name,
        "s",
        found,
        lambda one: [seen.slowest for seen in one.crashes.get(key, [])],
        lambda one: "of all connections that were not lost" if one is next(iter(found.values())) else "",
    )


def spread(seen: Sequence[Seen]) -> str:
    """The distribution in words."""
    pauses = sorted(one.pause for one in seen)
    darks = sorted(one.dark for one in seen)
    floors = [one.floor for one in seen if one.floor]
    quiet = f", up to {max(floors):.2f} without a failover" if floors else ""
    within = sum(pause <= WANTED for pause in pauses)
    return (
        f"{len(seen)} runs, {within} of at most {WANTED:g}, p50 {statistics.median(pauses):.2f}, least {pauses[0]:.2f};"
        f" slowest of all connections {max(one.slowest for one in seen):.2f};"
        f" dark p50 {statistics.median(darks):.2f}, longest {darks[-1]:.2f}{quiet}"
    )


def _losses(used: Sequence[Used]) -> str:
    """In the order of the runs."""
    lost = " ".join(str(one.lost) for one in used)
    reset, silent = sum(one.reset for one in used), sum(one.silence for one in used)
    return f"of {used[0].count}: {lost} (reset {reset}, silent {silent})"
