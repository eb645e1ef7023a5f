"""Which checks concern which real servers, and what their results have added up to so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from virtualserver.model.monitoring import Result, Target
from virtualserver.model.types import DestinationKey
from virtualserver.plan.health import ADOPTED, UNCHECKED, Health, Track, combine, step
from virtualserver.plan.world import ObjectKey


@dataclass(frozen=True, slots=True)
class Watch:
    """One monitor of one virtual server on one of its real servers; ``rise`` and ``fall`` count results."""

    owner: ObjectKey
    real_server: DestinationKey
    target: Target
    rise: int
    fall: int


class HealthBook:
    """Tracks of all watches. ``version`` grows whenever a health may have changed."""

    def __init__(self) -> None:
        self._tracks: dict[Watch, Track] = {}
        self._by_target: dict[Target, list[Watch]] = {}
        self._by_real_server: dict[tuple[ObjectKey, DestinationKey], list[Watch]] = {}
        self.version = 0

    @property
    def targets(self) -> frozenset[Target]:
        """Every check that somebody waits for."""
        return frozenset(self._by_target)

    def watch(self, watches: Iterable[Watch], serving: frozenset[tuple[ObjectKey, DestinationKey]]) -> None:
        """Replace all watches, keeping what is known.

        A watch that is new on a real server in ``serving`` (one that the kernel gives connections already: the
        agent restarted, or its owner changed a monitor) starts as up, any other waits for its first result.
        """
        tracks = {}
        for one in watches:
            known = self._tracks.get(one)
            fresh = ADOPTED if (one.owner, one.real_server) in serving else Track()
            tracks[one] = known if known is not None else fresh
        if tracks.keys() == self._tracks.keys():
            return
        self._tracks = tracks
        self._by_target, self._by_real_server = {}, {}
        for one in tracks:
            self._by_target.setdefault(one.target, []).append(one)
            self._by_real_server.setdefault((one.owner, one.real_server), []).append(one)
        self.version += 1

    def feed(self, target: Target, result: Result) -> bool:
        """Take a result; returns True when some real server went up or down by it, or for another reason."""
        changed = False
        for one in self._by_target.get(target, ()):
            before = self._tracks[one]
            after = step(before, result, rise=one.rise, fall=one.fall)
            self._tracks[one] = after
            changed = changed or (before.up, before.result) != (after.up, after.result)
        if changed:
            self.version += 1
        return changed

    def health(self, owner: ObjectKey, real_server: DestinationKey) -> Health:
        """Return what the monitors of a virtual server say of a real server."""
        watches = self._by_real_server.get((owner, real_server))
        if not watches:
            return UNCHECKED
        return combine([self._tracks[one] for one in watches])
