"""Takes back what former directors said: each agent writes its own part of a status, and a dead one removes nothing.

A server-side apply of nothing, under the agent's own field manager, removes what that agent alone had said: its entry
of ``directors``, real servers that nobody else lists, ``activeDirector``. What another writer says as well stays.

Conditions go last: while nobody else has written over one (the next director's agent, or ``Fallback``), it would be
lost; those of groups are the controller's own. And a living agent whose node has left the group takes its words back
itself, within ``GRACE``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from virtualserver.api.reasons import ConditionType
from virtualserver.cluster.errors import ApiError, NotFound, Unreachable
from virtualserver.cluster.managed import agent_manager, agent_managers, condition_path, owners
from virtualserver.cluster.port import StatusWriting
from virtualserver.cluster.resources import Resource
from virtualserver.plan.world import Json, ObjectKey, key_of

log = logging.getLogger(__name__)

GRACE = 5.0
"""Seconds for which the words of a former director are left to itself."""

EVERY, AGAIN = 1.0, 30.0
"""Seconds between two looks at what is due (nothing, nearly always), and until a refused removal is tried again."""

_CONDITIONS = tuple(condition_path(kind, "status") for kind in (ConditionType.PROGRAMMED, ConditionType.AVAILABLE))


class Leftovers:
    """A sink of virtual servers or groups; ``set`` says who may report of one, ``run`` removes what others left."""

    def __init__(self, api: StatusWriting, resource: Resource) -> None:
        self._api, self._resource = api, resource
        self._reporting: dict[ObjectKey, frozenset[str]] = {}
        self._said: dict[ObjectKey, frozenset[str]] = {}
        self._conditions: dict[ObjectKey, list[frozenset[str]]] = {}
        self._due: dict[ObjectKey, dict[str, float]] = {}

    def set(self, key: ObjectKey, nodes: frozenset[str]) -> None:
        """Say which nodes may report of an object; before that nothing of it is removed."""
        if self._reporting.get(key) != nodes:
            self._reporting[key] = nodes
            self._look(key)

    def replace(self, kind: str, objects: Iterable[Json]) -> None:
        """Take a full list."""
        listed = list(objects)
        for key in self._said.keys() - {key_of(obj) for obj in listed}:
            self.drop(kind, key)
        for obj in listed:
            self.put(kind, obj)

    def put(self, _kind: str, obj: Json) -> bool:
        """Take an object as it is now; returns False: it is no news for decisions."""
        key = key_of(obj)
        self._said[key] = agent_managers(obj)
        self._conditions[key] = [owners(obj, *path) for path in _CONDITIONS]
        self._look(key)
        return False

    def drop(self, _kind: str, key: ObjectKey) -> None:
        """Forget an object that is gone."""
        for known in (self._reporting, self._said, self._conditions, self._due):
            known.pop(key, None)

    async def run(self) -> None:
        """Remove what is due, until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            now = asyncio.get_running_loop().time()
            due = [(key, manager) for key, times in self._due.items() for manager, at in times.items() if at <= now]
            for key, manager in due:
                await self._take_back(key, manager)

    def _look(self, key: ObjectKey) -> None:
        """Note who has said something of an object and should not; since when is kept."""
        before = self._due.pop(key, {})
        if key not in self._reporting or key not in self._said:
            return
        gone = self._said[key] - {agent_manager(node) for node in self._reporting[key]}
        if gone and not any(holders and holders <= gone for holders in self._conditions[key]):
            at = asyncio.get_running_loop().time() + GRACE
            self._due[key] = {manager: before.get(manager, at) for manager in gone}

    async def _take_back(self, key: ObjectKey, manager: str) -> None:
        if manager not in self._due.get(key, {}):
            return
        try:
            answer = await self._api.apply_status(self._resource, key, self._resource.identity(key), manager)
        except NotFound:
            self.drop("", key)
        except Unreachable:
            await self._api.gate.passed()
        except ApiError as error:
            log.warning("words of a former director stay: %s", error, extra={"object": str(key), "manager": manager})
            self._due.get(key, {})[manager] = asyncio.get_running_loop().time() + AGAIN
        else:
            log.info("took back the words of a former director", extra={"object": str(key), "manager": manager})
            if key in self._said:
                self.put("", answer)
