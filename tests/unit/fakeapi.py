"""An API server in memory, as far as the cluster layer's tests need one. What it does not have, it refuses.

Server-side apply is kept for one manager per object at a time; two managers are tested on a real API server.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from unit.virtualtime import now
from virtualserver.cluster.errors import ApiError, NotFound, Unreachable
from virtualserver.cluster.pacing import Gate
from virtualserver.cluster.resources import Resource
from virtualserver.plan.world import Json, ObjectKey

_KEYS = {"conditions": ("type",), "realServers": ("address", "port"), "directors": ("node",)}


def fields_of(value: Any, name: str = "") -> dict[str, Any]:
    """managedFields of an applied value, as the API server would write them."""
    if isinstance(value, dict):
        return {f"f:{member}": fields_of(part, member) for member, part in value.items()}
    if isinstance(value, list) and name in _KEYS and all(isinstance(part, dict) for part in value):
        made = {}
        for part in value:
            pairs = ",".join(f'"{key}":{_json(part[key])}' for key in _KEYS[name])
            made["k:{" + pairs + "}"] = {".": {}, **fields_of(part)}
        return made
    return {}


def _json(value: Any) -> str:
    return str(value) if isinstance(value, int) else f'"{value}"'


def managed(manager: str, status: Json) -> dict[str, Any]:
    return {
        "manager": manager,
        "operation": "Apply",
        "subresource": "status",
        "fieldsV1": {"f:status": fields_of(status)},
    }


class FakeApi:
    """Objects by key, a version that counts up, and a list of what was written when."""

    def __init__(self) -> None:
        self.version = 10
        self.objects: dict[ObjectKey, dict[str, Any]] = {}
        self.writes: list[tuple[float, ObjectKey, Json]] = []
        self.down = False
        self.refuse: Callable[[], ApiError | None] = lambda: None
        self.probes = 0
        self.delay = 0.0
        self.running = self.most = 0
        self.gate = Gate(self._probe, uniform=lambda _, high: high)

    async def _probe(self) -> bool:
        self.probes += 1
        return not self.down

    def add(self, key: ObjectKey, **more: Any) -> dict[str, Any]:
        self.version += 1
        metadata = {"name": key.name, "namespace": key.namespace, "uid": f"uid-{self.version}"}
        self.objects[key] = {"metadata": metadata | {"resourceVersion": str(self.version)}, **more}
        return self.get(key)

    def get(self, key: ObjectKey) -> dict[str, Any]:
        return copy.deepcopy(self.objects[key])

    async def apply_status(self, _: Resource, key: ObjectKey, body: Json, manager: str) -> dict[str, Any]:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.running -= 1
        if self.down:
            raise Unreachable(0, "connection refused")
        refusal = self.refuse()
        if refusal is not None:
            raise refusal
        if key not in self.objects:
            raise NotFound(404, "not found")
        self.version += 1
        self.writes.append((now(), key, body.get("status", {})))
        obj = self.objects[key]
        obj["status"] = copy.deepcopy(dict(body.get("status", {})))
        obj["metadata"]["resourceVersion"] = str(self.version)
        obj["metadata"]["managedFields"] = [managed(manager, obj["status"])] if obj["status"] else []
        return self.get(key)

    async def create(self, _: Resource, namespace: str, body: Json) -> dict[str, Any]:
        if self.down:
            raise Unreachable(0, "connection refused")
        refusal = self.refuse()
        if refusal is not None:
            raise refusal
        self.writes.append((now(), ObjectKey(namespace, "created"), body))
        return dict(body)

    async def patch(self, _: Resource, key: ObjectKey, body: Json) -> dict[str, Any]:
        self.writes.append((now(), key, body))
        return dict(body)


Step = tuple[str, Any]


class ScriptedApi:
    """Answers lists and watches from two scripts; the last step of each is repeated for ever.

    List steps: (version, objects) or an error. Watch steps: a list of events, then "end", an error, or None
    for a watch that stays open.
    """

    def __init__(self, lists: list[Any], watches: list[Any], *, away: bool = False) -> None:
        self.lists, self.watches = lists, watches
        self.asked: list[tuple[float, str, str]] = []
        self.away = away
        self.gate = Gate(self._probe, uniform=lambda _, high: high)

    async def _probe(self) -> bool:
        return not self.away

    async def list(self, _: Resource) -> tuple[list[dict[str, Any]], str]:
        self.asked.append((now(), "list", ""))
        step = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        if isinstance(step, Exception):
            raise step
        version, objects = step
        return objects, version

    @asynccontextmanager
    async def watch(
        self, _: Resource, version: str, _seconds: float, _inactivity: float = 0
    ) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any]]]]:
        self.asked.append((now(), "watch", version))
        step = self.watches.pop(0) if len(self.watches) > 1 else self.watches[0]
        if isinstance(step, Exception):
            raise step
        yield self._events(step)

    async def _events(self, step: Any) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        for event in step[:-1]:
            if isinstance(event, float):
                await asyncio.sleep(event)
            else:
                yield event
        if step[-1] is None:
            await asyncio.sleep(1e9)
        elif isinstance(step[-1], Exception):
            raise step[-1]
