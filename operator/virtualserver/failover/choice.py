"""May this failover be asked for, and what came of it? Pure: from the status of a group."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from virtualserver.api.base import seconds
from virtualserver.api.directorgroup import DirectorGroupSpec
from virtualserver.api.enums import GroupRole, MirrorState
from virtualserver.plan import vrrp
from virtualserver.plan.directors import APART, HIGHEST_PRIORITY
from virtualserver.plan.groupseen import Director, GroupSeen

_SILENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s)")


class RefusedError(Exception):
    """It was not asked for: nothing has changed."""


class FailedError(Exception):
    """It was asked for, and not done as asked, or not in time."""


@dataclass(frozen=True, slots=True)
class Done:
    """A failover that took place, as the new active director tells it."""

    node: str
    before: str
    reason: str
    message: str
    silent: str

    @property
    def line(self) -> str:
        """The same for people."""
        instead = f" instead of {self.before}" if self.before else ""
        silent = f"the addresses were silent for {self.silent}" if self.silent else "not told how long it was silent"
        return f"{self.node} is active{instead}: {self.reason} ({self.message}); {silent}"


def target(group: str, seen: GroupSeen, to: str | None) -> Director | None:
    """Return the director that can take over; None when ``to`` is active already. Raises RefusedError."""
    if seen.active is None:
        raise RefusedError(f"no director of {group} is active{_whys(seen.directors)}")
    if to is None:
        standbys = [one for one in seen.having(GroupRole.STANDBY) if one.node != seen.active]
        if not standbys:
            others = [one for one in seen.directors if one.node != seen.active]
            raise RefusedError(f"no other director of {group} is ready{_whys(others)}")
        return min(standbys, key=lambda one: (one.lacking, not in_step(one)))
    found = next((one for one in seen.directors if one.node == to), None)
    if found is None:
        names = ", ".join(sorted(one.node for one in seen.directors)) or "none has reported"
        raise RefusedError(f"{to} is not a director of {group}; its directors: {names}")
    if to == seen.active:
        return None
    if found.role != GroupRole.STANDBY:
        raise RefusedError(f"{to} is not ready{_whys([found])}")
    return found


def in_step(director: Director) -> bool:
    """Return whether a standby has the connections, or needs none because none are mirrored."""
    return director.mirror in (None, MirrorState.IN_STEP)


def answer(seen: GroupSeen, request: str) -> Done | None:
    """Return what answered a request, None while nothing has."""
    told = dict(seen.failover)
    if told.get("request") != request:
        return None
    words = (told.get(name, "") for name in ("node", "before", "reason", "message", "silent"))
    return Done(*words)


def comes_back(seen: GroupSeen, done: Done) -> bool:
    """Return whether the director before is more preferred than the new one, by what each claimed before."""
    claimed = {one.node: one.priority for one in seen.directors}
    return claimed.get(done.before, 0) > claimed.get(done.node, 0)


def silence(silent: str) -> float | None:
    """Return how long the addresses were silent, None when it was not told."""
    found = _SILENT.fullmatch(silent)
    return None if found is None else float(found[1]) / (1000 if found[2] == "ms" else 1)


def noticed(spec: DirectorGroupSpec) -> str:
    """Return how long a crash takes until the first standby notices it, which a drill leaves out.

    The crash comes at any time between two advertisements (RFC 9568, 6.1: ``Active_Down_Interval``).
    """
    interval, missed = seconds(spec.vrrp.advertisement_interval), vrrp.missed(spec.vrrp)
    skew = (256 - HIGHEST_PRIORITY + APART) / 256
    least, most = (missed - 1 + skew) * interval, (missed + skew) * interval
    return f"a crash is noticed {least:.2f} to {most:.2f} s after it, in addition (spec.vrrp)"


def table(done: Sequence[Done]) -> list[str]:
    """Return the lines of a drill's result."""
    width = max([len("FROM"), *(len(one.before) for one in done), *(len(one.node) for one in done)])
    lines = [f"{'#':>3}  {'FROM':<{width}}  {'TO':<{width}}  SILENT"]
    lines += [
        f"{number:>3}  {one.before:<{width}}  {one.node:<{width}}  {one.silent or '?'}"
        for number, one in enumerate(done, 1)
    ]
    known = [value for one in done if (value := silence(one.silent)) is not None]
    if known:
        low, middle, high = min(known), statistics.median(known), max(known)
        lines.append(f"silent: min {low:.3f}s, median {middle:.3f}s, max {high:.3f}s, failovers: {len(known)}")
    return lines


def _whys(directors: Sequence[Director]) -> str:
    return f": {'; '.join(one.why for one in directors)}" if directors else ""
