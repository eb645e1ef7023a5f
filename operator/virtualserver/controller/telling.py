"""Says what is so of every director group, and tells its transitions once, as events.

A director that dies cannot take back that it is active, and one that yields needs a moment for it. So two that say so
count as two owners only when both have answered (``Agents``) twice since; until then nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from virtualserver.api.enums import GroupRole
from virtualserver.api.reasons import ConditionType, Reason
from virtualserver.cluster.events import EventWriter, Subject
from virtualserver.cluster.resources import DIRECTOR_GROUPS
from virtualserver.cluster.status import StatusWriter
from virtualserver.controller.decide import group_status
from virtualserver.controller.groups import failover_note
from virtualserver.plan.groupseen import GroupSeen, group_seen
from virtualserver.plan.world import DirectorGroup, Json, ObjectKey, World

ANSWERS = 2
"""Questions that two owners must have answered after both were seen to be active."""


class Asking(Protocol):
    """Knows which agents answer (``Agents``)."""

    @property
    def unreachable(self) -> frozenset[str]:
        """Nodes whose agent gives no sign of life."""
        ...

    @property
    def rounds(self) -> int:
        """How often all were asked."""
        ...

    @property
    def answered(self) -> Mapping[str, int]:
        """The last round in which each agent answered."""
        ...

    def again(self) -> None:
        """Call it a change when the next round is over."""
        ...


class GroupTeller:
    """Keeps what was told of each group."""

    def __init__(self, agents: Asking, groups: StatusWriter, events: EventWriter) -> None:
        self._agents, self._groups, self._events = agents, groups, events
        self._conflicts: dict[str, int] = {}
        self._owners: dict[str, tuple[object, ...]] = {}
        self._told: dict[str, dict[str, tuple[object, ...]]] = {}

    def once(self, world: World) -> dict[str, GroupSeen | None]:
        """Judge all groups; returns what is seen of each, None while its directors contradict each other."""
        found = {name: self._one(group, world) for name, group in world.groups.items()}
        for known in (self._conflicts, self._owners, self._told):
            for name in known.keys() - found.keys():
                known.pop(name)
        return found

    def _one(self, group: DirectorGroup, world: World) -> GroupSeen | None:
        key = ObjectKey("", group.name)
        known = self._groups.seen(key) or {}
        seen = group_seen(known, self._agents.unreachable)
        clear = self._clear(group.name, seen)
        status = group_status(group, world, seen if clear else _one_owner(seen), None if clear else known)
        self._groups.set(key, status)
        subject = Subject(DIRECTOR_GROUPS, key, group.uid)
        news = [one for one in status["conditions"] if clear or one["type"] != ConditionType.DEGRADED]
        self._tell(subject, seen, known, news)
        return seen if clear else None

    def _clear(self, name: str, seen: GroupSeen) -> bool:
        """Return False while two say that they are active and one of them may be dead, or about to yield."""
        owners = [one.node for one in seen.having(GroupRole.ACTIVE)]
        if len(owners) < 2:
            self._conflicts.pop(name, None)
            return True
        since = self._conflicts.setdefault(name, self._agents.rounds)
        if all(self._agents.answered.get(node, 0) >= since + ANSWERS for node in owners):
            return True
        self._agents.again()
        return False

    def _tell(self, subject: Subject, seen: GroupSeen, known: Json, conditions: Iterable[Json]) -> None:
        """Tell what has changed; what the status said already is not told again after a restart."""
        name = subject.key.name
        said = {one["type"]: one for one in known.get("conditions") or []}
        told = self._told.setdefault(name, {})
        moved = self._moved(name, seen, said, conditions)
        if moved:
            reason, text, lost = failover_note(seen)
            (self._events.warning if lost else self._events.normal)(subject, reason, text)
        unfit = tuple(one.node for one in seen.directors if one.role not in (GroupRole.ACTIVE, GroupRole.STANDBY))
        for one in conditions:
            kind, about = one["type"], (one["status"], one["reason"])
            before = told.get(kind, (*_about(said.get(kind)), unfit))
            told[kind] = (*about, unfit)
            good = one["status"] == ("False" if kind == ConditionType.DEGRADED else "True")
            if before == told[kind] or (good and before[:2] == about):
                continue
            if not good and (seen.directors or before[:2] != _NOTHING or kind == ConditionType.ACCEPTED):
                self._events.warning(subject, Reason(one["reason"]), one["message"])
            elif good and before[:2] != _NOTHING and not (moved and kind == ConditionType.AVAILABLE):
                self._events.normal(subject, Reason(one["reason"]), one["message"])

    def _moved(self, name: str, seen: GroupSeen, said: Mapping[str, Json], conditions: Iterable[Json]) -> bool:
        """Return whether another director is active, or the same one anew, and that was not told yet."""
        owner = seen.active, seen.failover
        before = self._owners.get(name)
        if not seen.active or before == owner or (before and before[0] == seen.active and not seen.failover):
            return False
        self._owners[name] = owner
        messages = [one["message"] for one in conditions if one["type"] == ConditionType.AVAILABLE]
        return before is not None or said.get(ConditionType.AVAILABLE, {}).get("message") not in messages


_NOTHING = ("", "")


def _about(condition: Json | None) -> tuple[str, str]:
    return (condition["status"], condition["reason"]) if condition else _NOTHING


def _one_owner(seen: GroupSeen) -> GroupSeen:
    """Return the same without the words of other owners than the one named."""
    directors = tuple(one for one in seen.directors if one.role != GroupRole.ACTIVE or one.node == seen.active)
    return replace(seen, directors=directors)
