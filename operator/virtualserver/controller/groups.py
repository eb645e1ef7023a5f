"""What the controller says of a director group: from what its directors say of themselves to conditions and events.

Of a mirror's share and lag it repeats the steps in which directors tell them: they stay the same while all is well.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtualserver.api.enums import GroupRole, MirrorState
from virtualserver.api.reasons import Reason
from virtualserver.plan.findings import Finding
from virtualserver.plan.groupseen import Director, GroupSeen, group_seen
from virtualserver.plan.world import Json, ObjectKey, key_of


def available(seen: GroupSeen) -> tuple[Finding, bool]:
    """Return whether a director is active, and whether that is known at all."""
    active = seen.having(GroupRole.ACTIVE)
    if active:
        verb = "holds" if len(active) == 1 else "hold"
        text = f"{_names(active)} {verb} the virtual addresses"
        return Finding(True, Reason.DIRECTOR_ACTIVE, text), True
    holder = next((one for one in seen.directors if one.node == seen.active), None)
    if holder is not None and holder.role == GroupRole.UNKNOWN:
        return Finding(False, Reason.DIRECTOR_UNREACHABLE, holder.message), False
    said = "; ".join(one.why for one in seen.directors) or "none of its nodes has reported"
    return Finding(False, Reason.NO_ACTIVE_DIRECTOR, f"no director is active: {said}"), True


def degraded(seen: GroupSeen, most: int, members: Iterable[str] = ()) -> Finding:
    """Return what is wrong with a group of these nodes, ``most`` of them directors; ``ok`` says that something is."""
    active, standbys = seen.having(GroupRole.ACTIVE), seen.having(GroupRole.STANDBY)
    if len(active) > 1:
        text = f"{_names(active)} all say that they are active: do VRRP's packets pass between them?"
        return Finding(True, Reason.TWO_OWNERS, text)
    if found := next((one for one in active if one.reason == Reason.TWO_OWNERS), None):
        return Finding(True, Reason.TWO_OWNERS, found.why)
    others = [one for one in seen.directors if one not in active and one not in standbys]
    for reason, among in (
        (Reason.DIRECTOR_NOT_READY, [one for one in others if one.role != GroupRole.UNKNOWN]),
        (Reason.DIRECTOR_UNREACHABLE, others),
    ):
        if among:
            return Finding(True, reason, "; ".join(one.why for one in sorted(among, key=lambda one: one.node)))
    if lacking := sorted((one for one in (*active, *standbys) if one.lacking), key=lambda one: one.node):
        return Finding(True, Reason.NOT_ALL_SERVED, "; ".join(one.why for one in lacking))
    ready = len(active) + len(standbys)
    if ready < min(2, most):
        return Finding(True, Reason.NO_STANDBY, f"directors that are ready: {ready}; none could take over")
    if never := sorted(set(members) - {one.node for one in seen.directors}):
        text = (
            f"{', '.join(never)} would be a director by its labels, but its agent has never reported: does one run "
            "there? Until then VRRP is taken from everybody on the link"
        )
        return Finding(True, Reason.DIRECTOR_UNREACHABLE, text)
    return Finding(False, Reason.DIRECTORS_READY, f"directors that are ready: {ready}")


def doubted(seen: GroupSeen) -> Finding | None:
    """Return what is wrong while two say that they are active, where one of them took over because the other was not
    heard any more: that is known before it is known whether the other one lives."""
    told = dict(seen.failover)
    if told.get("reason") != Reason.DIRECTOR_LOST or told.get("node") != seen.active or not told.get("before"):
        return None
    text = (
        f"{seen.active} took over, for it did not hear {told['before']} any more; whether that lives is being found out"
    )
    return Finding(True, Reason.DIRECTOR_UNREACHABLE, text)


def mirrored(seen: GroupSeen) -> tuple[Finding, bool]:
    """Return whether the standby that would take over has the connections of the active director, and whether that is
    known; of the other standbys only what is not well is said."""
    standbys = seen.having(GroupRole.STANDBY)
    if not standbys:
        return Finding(False, Reason.NO_STANDBY, "no standby is ready to receive connections"), True
    ok, reason, _ = _mirror(standbys[0])
    others = [one for one in standbys[1:] if not _mirror(one)[0]]
    text = "; ".join(f"{one.node}: {_mirror(one)[2]}" for one in (standbys[0], *others))
    return Finding(ok, reason, text), reason in (Reason.IN_STEP, Reason.BEHIND)


def _mirror(standby: Director) -> tuple[bool, Reason, str]:
    """Return whether a standby has the connections, in a word and in words."""
    ok, reason, text = _MIRRORED.get(standby.mirror or "", (False, Reason.NOT_MEASURED, "not measured yet"))
    return ok, reason, (standby.mirror_message or text) + standby.mirror_figures


_MIRRORED: dict[str, tuple[bool, Reason, str]] = {
    MirrorState.IN_STEP: (True, Reason.IN_STEP, "in step with the active director"),
    MirrorState.BEHIND: (False, Reason.BEHIND, "connections of the active director are missing"),
    MirrorState.ALONE: (False, Reason.ALONE, "nobody to compare with"),
}


def standbys(seen: GroupSeen) -> str:
    """Return the names of those that can take over, in that order."""
    return ",".join(one.node for one in seen.having(GroupRole.STANDBY))


def failover_note(seen: GroupSeen) -> tuple[Reason, str, bool]:
    """Return how the addresses came to the active director: reason, sentence, and whether people should look at it."""
    told = dict(seen.failover)
    if told.get("node") != seen.active:
        return Reason.DIRECTOR_ACTIVE, f"{seen.active} is active", False
    before, reason = told.get("before"), told.get("reason", "")
    instead = f" instead of {before}" if before else ""
    silent = f", silent for {told['silent']}" if "silent" in told else ""
    text = f"{seen.active} is active{instead}: {reason}{silent} ({told.get('message', '')})"
    return (Reason.FAILED_OVER if before else Reason.DIRECTOR_ACTIVE), text, reason == Reason.DIRECTOR_LOST


class GroupsSeen:
    """A sink of director groups: what directors say is news for the controller's loop."""

    def __init__(self) -> None:
        self._seen: dict[ObjectKey, GroupSeen] = {}

    def replace(self, kind: str, objects: Iterable[Json]) -> None:
        """Take a full list."""
        listed = {key_of(obj): obj for obj in objects}
        self._seen = {key: one for key, one in self._seen.items() if key in listed}
        for obj in listed.values():
            self.put(kind, obj)

    def put(self, _kind: str, obj: Json) -> bool:
        """Take a group as it is now; returns whether there is news."""
        key, seen = key_of(obj), group_seen(obj.get("status") or {})
        changed = self._seen.get(key) != seen
        self._seen[key] = seen
        return changed

    def drop(self, _kind: str, key: ObjectKey) -> None:
        """Forget a group that is gone."""
        self._seen.pop(key, None)


def _names(directors: Iterable[Director]) -> str:
    return ", ".join(one.node for one in directors)
