"""What the controller says of a director whose agent does not answer: that its role is unknown.

The entry stays the agent's, but for these words, which the controller takes over under a field manager of its own
until the agent speaks again. As in ``Fallback``, words are taken back only when another's stand in their place, since
an entry must have them all; an entry of which nothing else is left goes as a whole. And who writes over these words
is alive, though it does not answer: we give way, and tell ``Agents`` so.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable
from typing import Any

from virtualserver.api.enums import DirectorRole
from virtualserver.cluster.managed import owners
from virtualserver.cluster.port import StatusWriting
from virtualserver.cluster.resources import Resource
from virtualserver.cluster.status import StatusWriter
from virtualserver.controller.fallback import Hears
from virtualserver.plan.groupseen import silent_director
from virtualserver.plan.world import Json, ObjectKey, key_of

MANAGER = "virtualserver-controller-silence"

Entry = dict[str, Any]


def of_group(node: str) -> Entry:
    """Return what is said in the status of a group."""
    said = silent_director(node)
    return {"node": node, "role": str(said.role), "reason": str(said.reason), "message": said.message}


def of_virtual_server(node: str) -> Entry:
    """Return what is said in the status of a virtual server; the rest of the entry is what the agent saw last."""
    return {"node": node, "role": str(DirectorRole.UNKNOWN)}


class _Held(enum.Enum):
    """Whose words an entry of a status is."""

    THEIRS = enum.auto()
    OURS = enum.auto()
    ALONE = enum.auto()
    """Ours, and nobody else has said anything in it."""


class Silence:
    """A sink of virtual servers or groups; ``set`` says which nodes' agents do not answer."""

    def __init__(self, api: StatusWriting, resource: Resource, entry: Callable[[str], Entry], agents: Hears) -> None:
        self._entry, self._agents = entry, agents
        self._silent: frozenset[str] = frozenset()
        self._held: dict[ObjectKey, dict[str, _Held]] = {}
        self.writer = StatusWriter(api, resource, MANAGER, on_seen=self._seen)

    def set(self, silent: frozenset[str]) -> None:
        """Say which nodes' agents do not answer."""
        if silent != self._silent:
            self._silent = silent
            for key in self._held:
                self._say(key)

    def replace(self, kind: str, objects: Iterable[Json]) -> None:
        """Take a full list."""
        listed = list(objects)
        for key in self._held.keys() - {key_of(obj) for obj in listed}:
            self.drop(kind, key)
        for obj in listed:
            self.put(kind, obj)

    def put(self, kind: str, obj: Json) -> bool:
        """Take an object as it is now; returns False: it is no news for decisions."""
        return self.writer.put(kind, obj)

    def drop(self, kind: str, key: ObjectKey) -> None:
        """Forget an object that is gone."""
        self.writer.drop(kind, key)
        self._held.pop(key, None)

    def _seen(self, obj: Json) -> None:
        """Note whose words stand; the answer to a write of ours tells it before any watch does."""
        key = key_of(obj)
        before = self._held.get(key, {})
        nodes = [entry.get("node", "") for entry in (obj.get("status") or {}).get("directors") or []]
        held = self._held[key] = {node: _held(obj, node) for node in nodes}
        alive = {n for n in self._silent if before.get(n) is _Held.OURS and held.get(n) is _Held.THEIRS}
        self._silent -= alive
        self._say(key)
        for node in alive:
            self._agents.heard(node)

    def _say(self, key: ObjectKey) -> None:
        held = self._held[key].items()
        said = [
            self._entry(node)
            for node, whose in held
            if whose is _Held.OURS or (whose is _Held.THEIRS and node in self._silent)
        ]
        self.writer.set(key, {"directors": said} if said else None)


def _held(obj: Json, node: str) -> _Held:
    path = "f:directors", "k:" + json.dumps({"node": node}, separators=(",", ":"))
    if owners(obj, *path, "f:role") != {MANAGER}:
        return _Held.THEIRS
    return _Held.ALONE if owners(obj, *path) == {MANAGER} else _Held.OURS
