"""From the findings of every node to the condition ``Degraded``: the controller alone sees all entries of a status."""

from __future__ import annotations

from collections.abc import Iterable

from virtualserver.api.reasons import Reason
from virtualserver.plan.findings import Finding
from virtualserver.plan.world import Json, ObjectKey, key_of

SHOWN = 16
"""How many findings the message repeats; the entries have the rest."""

Told = tuple[tuple[str, str, str], ...]
"""(reason, message, nodes that say so), sorted."""


def told(status: Json) -> Told | None:
    """Return what the nodes' entries of a status say, each thing once; None when no node has said anything yet."""
    entries = [*(status.get("directors") or []), *(status.get("nodes") or [])]
    nodes: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        for one in entry.get("findings") or []:
            nodes.setdefault((one.get("reason", ""), one.get("message", "")), set()).add(entry.get("node", ""))
    return tuple(sorted((*one, ", ".join(sorted(who))) for one, who in nodes.items())) if entries else None


def degraded(found: Told | None) -> Finding | None:
    """Return the condition: ``ok`` says that it holds, that is, that something is wrong.

    What a newer agent found under a reason that this version does not know counts as well.
    """
    if found is None:
        return None
    if not found:
        return Finding(False, Reason.NO_FINDING, "preflight has found nothing wrong")
    parts = [f"{nodes}: {message}" for _, message, nodes in found[:SHOWN]]
    rest = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    known = [one for one, _, _ in found if one in set(Reason)]
    return Finding(True, Reason(known[0]) if known else Reason.OTHER_FINDING, "; ".join(parts + rest))


class FindingsSeen:
    """A sink of virtual servers: findings that differ are news for the controller's loop, the rest of status is not."""

    def __init__(self) -> None:
        self._told: dict[ObjectKey, Told | None] = {}

    def replace(self, kind: str, objects: Iterable[Json]) -> None:
        """Take a full list."""
        listed = {key_of(obj): obj for obj in objects}
        self._told = {key: one for key, one in self._told.items() if key in listed}
        for obj in listed.values():
            self.put(kind, obj)

    def put(self, _kind: str, obj: Json) -> bool:
        """Take a virtual server as it is now; returns whether its findings have changed."""
        key, found = key_of(obj), told(obj.get("status") or {})
        changed = self._told.get(key) != found
        self._told[key] = found
        return changed

    def drop(self, _kind: str, key: ObjectKey) -> None:
        """Forget a virtual server that is gone."""
        self._told.pop(key, None)
