"""Objects as kopf's events and our own full lists bring them, the newer of both winning.

kopf loses deletions that happen while its watch is down; the periodic full list finds them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from virtualserver.cluster.client import Api
from virtualserver.cluster.errors import ApiError, NotFound
from virtualserver.cluster.managed import version_of
from virtualserver.cluster.pacing import Backoff
from virtualserver.cluster.resources import WATCHED, Resource
from virtualserver.cluster.watch import Sink
from virtualserver.plan.store import Store
from virtualserver.plan.world import Json, ObjectKey, key_of

log = logging.getLogger(__name__)

FULL_LIST = (50.0, 70.0)
"""Seconds between full lists."""


class Feed:
    """Keeps ``store`` and the ``also`` sinks of a kind (status writers) equal to the cluster."""

    def __init__(self, store: Store, also: Mapping[str, Sequence[Sink]], changed: Callable[[], None]) -> None:
        self._store, self._also, self._changed = store, also, changed
        self._versions: dict[tuple[str, ObjectKey], int] = {}
        self.complete = asyncio.Event()

    def take(self, resource: Resource, event: str | None, obj: Json) -> None:
        """Take one event of kopf; ``event`` is None for objects of its initial list."""
        key, kind = key_of(obj), resource.kind
        if event == "DELETED":
            self._drop(kind, key)
        else:
            self._put(kind, key, obj)

    async def list_all(self, api: Api) -> None:
        """List every kind again and again, until cancelled; the first time quickly."""
        backoff = Backoff()
        while True:
            try:
                for resource in WATCHED:
                    await self._list(api, resource)
            except ApiError as error:
                log.info("full list failed", extra={"error": str(error)})
                await asyncio.sleep(backoff.next())
                continue
            backoff.reset()
            if not self.complete.is_set():
                self.complete.set()
                self._changed()
            await asyncio.sleep(random.uniform(*FULL_LIST))

    async def _list(self, api: Api, resource: Resource) -> None:
        try:
            objects, text = await api.list(resource)
        except NotFound:
            if resource.optional:
                return
            raise
        listed: dict[ObjectKey, dict[str, Any]] = {key_of(obj): obj for obj in objects}
        version = int(text) if text.isdecimal() else 0
        for kind, key in [known for known in self._versions if known[0] == resource.kind]:
            if key not in listed and self._versions[kind, key] <= version:
                log.info("found gone by a full list", extra={"kind": kind, "object": str(key)})
                self._drop(kind, key)
        for key, obj in listed.items():
            self._put(resource.kind, key, obj)

    def _put(self, kind: str, key: ObjectKey, obj: Json) -> None:
        version = version_of(obj)
        if version < self._versions.get((kind, key), 0):
            return
        self._versions[kind, key] = version
        for sink in self._also.get(kind, ()):
            sink.put(kind, obj)
        if self._store.put(kind, obj):
            self._changed()

    def _drop(self, kind: str, key: ObjectKey) -> None:
        if self._versions.pop((kind, key), None) is not None:
            for sink in self._also.get(kind, ()):
                sink.drop(kind, key)
            self._store.drop(kind, key)
            self._changed()
