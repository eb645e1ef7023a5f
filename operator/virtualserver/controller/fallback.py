"""What the controller says in the place of a director that is missing or silent, and how it stops saying so.

It shares conditions with the agents, under a field manager of its own. Two rules keep the two from fighting
and from losing anything:

- Our words are taken back only when another writer's stand in their place. Taken back before, a condition
  would be left without its required fields, and the API server would refuse that.
- Who writes over our "does not answer" is alive: we give way, and tell ``Agents`` so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from virtualserver.api.reasons import ConditionType
from virtualserver.cluster.managed import condition_path, owners
from virtualserver.cluster.port import StatusWriting
from virtualserver.cluster.resources import VIRTUAL_SERVERS
from virtualserver.cluster.status import StatusWriter
from virtualserver.plan.world import Json, ObjectKey, key_of

MANAGER = "virtualserver-controller-fallback"

_PATHS = tuple(condition_path(kind, "status") for kind in (ConditionType.PROGRAMMED, ConditionType.AVAILABLE))


class Hears(Protocol):
    """Wants to know which agents live (``Agents``)."""

    def heard(self, node: str) -> None:
        """Note that the agent of a node has just written to the API."""


class Fallback:
    """A sink of virtual servers that writes what it is told until an agent speaks for itself."""

    def __init__(self, api: StatusWriting, agents: Hears) -> None:
        self._agents = agents
        self._alone: set[ObjectKey] = set()
        self._silent: dict[ObjectKey, str] = {}
        self._leaving: set[ObjectKey] = set()
        self.writer = StatusWriter(api, VIRTUAL_SERVERS, MANAGER, on_taken=self._taken, on_seen=self._seen)

    def set(self, key: ObjectKey, status: Json | None, silent: str | None = None) -> None:
        """Say ``status``, on behalf of the ``silent`` node if one is meant; None: the agent speaks for itself."""
        if status is not None:
            self._leaving.discard(key)
            self._alone.add(key)  # as far as we know, until the API server has answered
            if silent is None:
                self._silent.pop(key, None)
            else:
                self._silent[key] = silent
            self.writer.set(key, status)
            return
        self._silent.pop(key, None)
        self._leaving.add(key)
        self._leave(key)

    def replace(self, kind: str, objects: Iterable[Json]) -> None:
        """Take a full list."""
        listed = list(objects)
        for key in self._alone - {key_of(obj) for obj in listed}:
            self.drop(kind, key)
        for obj in listed:
            self.put(kind, obj)

    def put(self, kind: str, obj: Json) -> bool:
        """Take a virtual server as it is now."""
        return self.writer.put(kind, obj)

    def drop(self, kind: str, key: ObjectKey) -> None:
        """Forget a virtual server that is gone."""
        self.writer.drop(kind, key)
        self._alone.discard(key)
        self._leaving.discard(key)
        self._silent.pop(key, None)

    def _seen(self, obj: Json) -> None:
        """Note whether our words stand alone; the answer to a write of ours tells it before any watch does."""
        key = key_of(obj)
        if any(owners(obj, *path) == {MANAGER} for path in _PATHS):
            self._alone.add(key)
        else:
            self._alone.discard(key)
        self._leave(key)

    def _leave(self, key: ObjectKey) -> None:
        if key in self._leaving and key not in self._alone:
            self.writer.set(key, None)

    def _taken(self, key: ObjectKey) -> bool:
        if key in self._silent:
            self._agents.heard(self._silent[key])
            return True
        return key in self._leaving
