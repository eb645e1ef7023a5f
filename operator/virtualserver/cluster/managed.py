"""Server-side apply, the pure part: which fields are whose, and which times survive a new report.

``metadata.managedFields`` says for each field manager what it applied::

    f:conditions: { 'k:{"type":"Accepted"}': { .: {}, f:type: {}, f:status: {} } }

``owned`` reads that; a writer that compares its wish with what it owns writes nothing after a restart, takes
back what others overwrote, and removes what it no longer says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from virtualserver.plan.world import Json

_LISTS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "conditions": (("type",), "lastTransitionTime", ("status",)),
    "realServers": (("address", "port"), "since", ("state",)),
    "directors": (("node",), "reported", ()),
    "nodes": (("node",), "reported", ()),
}
"""List -> (keys of an entry, its time, the fields whose change moves the time; none: any field)."""

_TIMES: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {"DirectorGroup": {"directors": ("since", ("role",))}}
"""Kind -> list -> time of an entry and the fields that move it, where they are not those of ``_LISTS``."""

_OBJECTS = {"lastFailover": "time"}
"""Object -> its time, which any of its fields moves."""

_AGENT = "virtualserver-agent-"


def pruned(value: Any) -> Any:
    """Return ``value`` without members that say nothing (None, empty lists and objects)."""
    if isinstance(value, Mapping):
        parts = ((name, pruned(part)) for name, part in value.items())
        return {name: part for name, part in parts if part is not None and part != [] and part != {}}
    if isinstance(value, list | tuple):
        return [pruned(part) for part in value]
    return value


def owned(obj: Json, manager: str) -> dict[str, Any]:
    """Return the part of ``obj``'s status that ``manager`` has applied, as it stands in the object now."""
    for entry in obj["metadata"].get("managedFields") or []:
        if (entry.get("manager"), entry.get("operation"), entry.get("subresource")) == (manager, "Apply", "status"):
            fields = (entry.get("fieldsV1") or {}).get("f:status")
            return dict(pruned(_project(obj.get("status") or {}, fields))) if fields else {}
    return {}


def owners(obj: Json, *path: str) -> frozenset[str]:
    """Return the managers that own a field of the status; ``path`` is spelled as in managedFields."""
    found = set()
    for entry in obj["metadata"].get("managedFields") or []:
        fields: Any = (entry.get("fieldsV1") or {}).get("f:status")
        for step in path:
            fields = fields.get(step) if isinstance(fields, Mapping) else None
        if fields is not None:
            found.add(entry.get("manager", ""))
    return frozenset(found)


def agent_manager(node: str) -> str:
    """Return the field manager of a node's agent; the API server takes names of at most 128 characters."""
    name = f"{_AGENT}{node}"
    return name if len(name) <= 128 else f"{_AGENT}{hashlib.sha256(node.encode()).hexdigest()[:32]}"


def agent_managers(obj: Json) -> frozenset[str]:
    """Return the field managers of agents that have applied a part of the status of ``obj``."""
    entries = obj["metadata"].get("managedFields") or []
    applied = (one for one in entries if (one.get("operation"), one.get("subresource")) == ("Apply", "status"))
    return frozenset(name for one in applied if (name := one.get("manager", "")).startswith(_AGENT))


def version_of(obj: Json) -> int:
    """Return the resource version as a number, so that an older view of an object can be told; 0 when it is none."""
    text = obj["metadata"].get("resourceVersion") or ""
    return int(text) if text.isdecimal() else 0


def condition_path(kind: str, field: str) -> tuple[str, str, str]:
    """Return the path of a condition's field for ``owners``."""
    return "f:conditions", "k:" + json.dumps({"type": kind}, separators=(",", ":")), f"f:{field}"


def _project(value: Any, fields: Json) -> Any:
    """Return the part of ``value`` that ``fields`` (fieldsV1) names; no members means all of it."""
    if not any(name != "." for name in fields):
        return value
    if isinstance(value, Mapping):
        named = ((name[2:], inner) for name, inner in fields.items() if name.startswith("f:"))
        return {name: _project(value[name], inner) for name, inner in named if name in value}
    if isinstance(value, list):
        return _project_list(value, fields)
    return value


def _project_list(value: list[Any], fields: Json) -> list[Any]:
    keyed = [(json.loads(name[2:]), inner) for name, inner in fields.items() if name.startswith("k:")]
    plain = [json.loads(name[2:]) for name in fields if name.startswith("v:")]
    found = [item for item in value if item in plain]
    for item in value:
        for key, inner in keyed:
            if isinstance(item, Mapping) and all(item.get(name) == part for name, part in key.items()):
                found.append(_project(item, inner))
    return found


def same(one: Json, other: Json) -> bool:
    """Return whether two statuses say the same; the order of keyed lists means nothing."""
    return _ordered(one) == _ordered(other)


def _ordered(status: Json) -> dict[str, Any]:
    made = dict(pruned(status))
    for name, (keys, _, _) in _LISTS.items():
        if _keyed(made.get(name)):
            made[name] = sorted(made[name], key=lambda entry: [str(entry.get(key)) for key in keys])
    return made


def stamped(wanted: Json, known: Json, now: str, kind: str = "") -> dict[str, Any]:
    """Return ``wanted``, the status of an object of ``kind``, with its times filled in, pruned.

    An entry that says the same as its namesake in ``known`` keeps the time found there. Another keeps the
    time that it brings along, else it gets ``now`` (RFC 3339).
    """
    made: dict[str, Any] = dict(pruned(wanted))
    for name, (keys, time, decisive) in _LISTS.items():
        if not _keyed(made.get(name)):
            continue
        listed = known.get(name) if _keyed(known.get(name)) else []
        before = {tuple(entry.get(key) for key in keys): entry for entry in listed or []}
        time, decisive = _TIMES.get(kind, {}).get(name, (time, decisive))
        made[name] = [
            _stamp(entry, before.get(tuple(entry.get(key) for key in keys)), time, decisive, now)
            for entry in made[name]
        ]
    for name, time in _OBJECTS.items():
        if isinstance(made.get(name), Mapping):
            made[name] = _stamp(made[name], known.get(name), time, (), now)
    return made


def _keyed(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value)


def _stamp(
    entry: dict[str, Any], before: Json | None, time: str, decisive: tuple[str, ...], now: str
) -> dict[str, Any]:
    if before is not None and before.get(time):
        if decisive:
            equal = all(entry.get(name) == before.get(name) for name in decisive)
        else:
            equal = {**entry, time: None} == {**pruned(before), time: None}
        if equal:
            return {**entry, time: before[time]}
    return {**entry, time: entry.get(time) or now}
