"""Objects as kopf's events and our own full lists bring them, the newer of both winning.

kopf loses deletions that happen while its watch is down; the full list finds them. It is made every minute,
and soon after kopf had to list a kind again, which says that there was such a gap.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence

from virtualserver.cluster.errors import NotFound, Unreachable
from virtualserver.cluster.managed import version_of
from virtualserver.cluster.pacing import Backoff
from virtualserver.cluster.port import Reading
from virtualserver.cluster.resources import WATCHED, Resource
from virtualserver.cluster.watch import Sink
from virtualserver.plan.world import Json, ObjectKey, key_of

log = logging.getLogger(__name__)

FULL_LIST = (50.0, 70.0)
"""Seconds between full lists."""

SOON = 0.5
"""Seconds from kopf's listing again to our full list; one is enough for all kinds."""


class Feed:
    """Keeps the sinks of each kind equal to the cluster; ``changed`` is called when one calls it a change."""

    def __init__(self, sinks: Mapping[str, Sequence[Sink]], changed: Callable[[], None]) -> None:
        self._sinks, self._changed = sinks, changed
        self._versions: dict[str, dict[ObjectKey, int]] = {resource.kind: {} for resource in WATCHED}
        self._deleted: dict[str, dict[ObjectKey, int]] = {resource.kind: {} for resource in WATCHED}
        self._gap = asyncio.Event()
        self.complete = asyncio.Event()

    def take(self, resource: Resource, event: str | None, obj: Json) -> None:
        """Take one event of kopf; ``event`` is None for objects that kopf lists."""
        key, kind = key_of(obj), resource.kind
        if event == "DELETED":
            self._drop(kind, key, version_of(obj))
            return
        if event is None:
            self._gap.set()
        self._put(kind, key, obj)

    async def list_all(self, api: Reading) -> None:
        """List every kind again and again, until cancelled. ``complete`` is set after the first time."""
        backoff = Backoff()
        while True:
            self._gap.clear()
            try:
                for resource in WATCHED:
                    await self._list(api, resource)
            except Unreachable:
                if not await api.gate.passed():
                    await asyncio.sleep(backoff.next())
                continue
            except Exception as error:
                log.warning("full list failed: %s", error, exc_info=not hasattr(error, "status"))
                await asyncio.sleep(backoff.next())
                continue
            backoff.reset()
            if not self.complete.is_set():
                self.complete.set()
                self._changed()
            try:
                async with asyncio.timeout(random.uniform(*FULL_LIST)):
                    await self._gap.wait()
                    await asyncio.sleep(SOON)
            except TimeoutError:
                pass

    async def _list(self, api: Reading, resource: Resource) -> None:
        try:
            objects, text = await api.list(resource)
        except NotFound:
            if not resource.optional:
                raise
            objects, text = [], "0"
        self.listed(resource, objects, int(text) if text.isdecimal() else 0)

    def listed(self, resource: Resource, objects: Sequence[Json], version: int) -> None:
        """Take a full list that was true at ``version``; what kopf has told since is newer and stays."""
        kind, listed = resource.kind, {key_of(obj): obj for obj in objects}
        for key, known in list(self._versions[kind].items()):
            if key not in listed and known <= version:
                log.info("found gone by a full list", extra={"kind": kind, "object": str(key)})
                self._drop(kind, key, version)
        for key, obj in listed.items():
            self._put(kind, key, obj)
        self._deleted[kind] = {key: when for key, when in self._deleted[kind].items() if when > version}

    def _put(self, kind: str, key: ObjectKey, obj: Json) -> None:
        version = version_of(obj)
        if version < self._versions[kind].get(key, 0) or version <= self._deleted[kind].get(key, -1):
            return
        self._versions[kind][key] = version
        try:
            answers = [sink.put(kind, obj) for sink in self._sinks.get(kind, ())]
        except Exception:  # one unreadable object must not stop the others
            log.exception("object not taken", extra={"kind": kind, "object": str(key)})
            return
        if any(answer is not False for answer in answers):
            self._changed()

    def _drop(self, kind: str, key: ObjectKey, version: int) -> None:
        if version < self._versions[kind].get(key, 0):
            return
        self._deleted[kind][key] = version
        if self._versions[kind].pop(key, None) is not None:
            for sink in self._sinks.get(kind, ()):
                sink.drop(kind, key)
            self._changed()
