"""What happened, in one list of times, and what must be true of it; pure but for `save`.

Owners come from the client's segment (recorder.py), the rest from whoever saw it: kernels' states, clients' results,
and what was done to the lab. All times are the machine's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from lab import network

HARDWARE = {
    segment.hardware(host.number): host.name
    for host in network.HOSTS
    for segment in (network.CLIENT, network.SERVER)
    if host.role != "pod"
}
"""Hosts by hardware address."""
TOGETHER = 0.25
"""Seconds between two sightings of one owner that count as one stretch: a recorder asks every 50 ms or more often."""
SETTLED = 1.0
"""Seconds before and after which an owner must have been seen, and nobody else, for a kernel to have to agree."""
LATE = 0.1
"""Seconds after the first sighting of an owner in which frames of the one before may arrive: guests have queues."""


@dataclass(frozen=True)
class Sighting:
    """A frame that claimed the address."""

    time: float
    address: str
    owner: str
    kind: str


@dataclass(frozen=True)
class Tenure:
    """A stretch in which an owner was seen again and again; from its first to its last sighting."""

    address: str
    owner: str
    start: float
    end: float


def sightings(rows: Iterable[Sequence[Any]], shift: float, hosts: Mapping[str, str] = HARDWARE) -> list[Sighting]:
    """Of what the recorder wrote; `shift` makes the machine's time of its guest's.

    Real servers answer with the virtual address as their source without owning it
    (Tunnel, Direct Routing): packets count only when they come from a director."""
    found = [Sighting(float(at) + shift, address, hosts.get(mac, mac), kind) for at, address, mac, kind in rows]
    return [one for one in found if one.kind != "packet" or one.owner in network.DIRECTORS]


def tenures(seen: Iterable[Sighting], together: float = TOGETHER) -> list[Tenure]:
    """Stretches by address and owner, in the order of their beginnings."""
    found = []
    for (address, owner), group in groupby(sorted(seen, key=_by_owner), key=lambda one: (one.address, one.owner)):
        times = [one.time for one in group]
        starts = [times[0], *(later for earlier, later in pairwise(times) if later - earlier > together)]
        ends = [*(earlier for earlier, later in pairwise(times) if later - earlier > together), times[-1]]
        found += [Tenure(address, owner, start, end) for start, end in zip(starts, ends, strict=True)]
    return sorted(found, key=lambda one: (one.start, one.address, one.owner))


def _by_owner(one: Sighting) -> tuple[str, str, float]:
    return one.address, one.owner, one.time


@dataclass(frozen=True)
class Owners:
    """Who held one address over time."""

    address: str
    held: Sequence[Tenure]

    @property
    def order(self) -> list[str]:
        """Owners one after the other, by when each was first seen; the same one again after a silence counts once."""
        found: list[Tenure] = []
        for one in self.held:
            before = found[-1] if found else one
            if len(found) > 1 and one.owner == found[-2].owner and one.end - before.start <= LATE:
                continue
            if before is one or before.owner != one.owner:
                found.append(one)
        return [one.owner for one in found]

    @property
    def moves(self) -> int:
        return max(0, len(self.order) - 1)

    @property
    def last(self) -> str:
        """Who was seen last; with two owners at a time that need not be who came last. Empty: nobody was."""
        return max(self.held, key=lambda one: one.end).owner if self.held else ""

    def at(self, time: float) -> set[str]:
        """Who held it then."""
        return {one.owner for one in self.held if one.start <= time <= one.end}

    @property
    def doubled(self) -> list[tuple[float, float]]:
        """Stretches in which two different owners were seen, merged and in their order."""
        found: list[tuple[float, float]] = []
        for one in self.held:
            for other in self.held:
                start, end = max(one.start, other.start), min(one.end, other.end)
                if one.owner < other.owner and start <= end:
                    found.append((start, end))
        merged: list[tuple[float, float]] = []
        for start, end in sorted(found):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged

    @property
    def silent(self) -> float:
        """The longest time between two stretches in which nobody was seen."""
        longest, until = 0.0, self.held[0].end if self.held else 0.0
        for one in self.held:
            longest, until = max(longest, one.start - until), max(until, one.end)
        return longest


@dataclass
class History:
    """One run; `note` what happens, then ask."""

    seen: list[Sighting] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def note(self, time: float, what: str, **fields: Any) -> None:
        self.events.append({"time": round(time, 4), "what": what, **fields})

    def owners(self, address: str) -> Owners:
        return Owners(address, [one for one in tenures(self.seen) if one.address == address])

    @property
    def figures(self) -> list[tuple[str, float]]:
        """What was measured: those events that have a value."""
        return [(one["what"], one["value"]) for one in self.events if "value" in one]

    @property
    def addresses(self) -> list[str]:
        return sorted({one.address for one in self.seen})

    def save(self, file: Path) -> None:
        """For a person: owners as stretches, everything else as it was noted."""
        held = [asdict(one) for one in tenures(self.seen)]
        ordered = sorted(self.events, key=lambda event: event["time"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"owners": held, "events": ordered}, indent=1))


# -- invariants: each returns what is wrong, in words; nothing when all is well -------------------------------------


def one_owner(history: History, window: float = 0.0) -> list[str]:
    """Nobody sees two owners for longer than the window that is stated for this fault."""
    return [
        f"{address} had two owners for {end - start:.2f} s from {start:.2f} ({window:g} s are allowed)"
        for address in history.addresses
        for start, end in history.owners(address).doubled
        if end - start > window
    ]


def moved(history: History, address: str, *owners: str) -> list[str]:
    """The owners one after the other are exactly these."""
    order = history.owners(address).order
    return [] if order == list(owners) else [f"{address} was held by {order}, not by {list(owners)}"]


def moves_at_most(history: History, most: int) -> list[str]:
    found = {address: history.owners(address).moves for address in history.addresses}
    return [f"{address} moved {moves} times, more than {most}" for address, moves in found.items() if moves > most]


def silent_at_most(history: History, seconds: float) -> list[str]:
    """No address was without an owner for longer."""
    found = {address: history.owners(address).silent for address in history.addresses}
    return [
        f"{address} had no owner for {silent:.2f} s ({seconds:g} s are allowed)"
        for address, silent in found.items()
        if silent > seconds
    ]


def kernels_agree(history: History) -> list[str]:
    """What directors' kernels held (events with ``director`` and ``addresses``) is what the segment saw; where it saw
    one owner for a while before and after, for a kernel is not read in an instant."""
    wrong = []
    for event in history.events:
        if "director" not in event or "addresses" not in event:
            continue
        at, kernel = event["time"], {one.partition("/")[0] for one in event["addresses"]}
        for address in history.addresses:
            tenures = history.owners(address).held
            near = {one.owner for one in tenures if one.start <= at + SETTLED and one.end >= at - SETTLED}
            settled = {one.owner for one in tenures if one.start <= at - SETTLED and one.end >= at + SETTLED}
            if len(near) == 1 and near == settled and (event["director"] in near) is not (address in kernel):
                verb = "holds" if address in kernel else "does not hold"
                text = f"{event['director']}'s kernel {verb} {address} at {at:.2f}"
                wrong.append(f"{text}, but the owner was {near.pop()}")
    return wrong


def nothing_lost(used: Mapping[str, Any]) -> list[str]:
    """Of what `clients.py hold` told."""
    lost = {kind: used[kind] for kind in ("reset", "silence") if used[kind]}
    return [f"connections lost: {lost}"] if lost else []
