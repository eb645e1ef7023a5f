"""List-then-watch: keeps a sink equal to what the API server holds, and says whether it is.

::

    list ──replace──> watch ──put/drop──> watch ended, silent -> watch on from the last version
      ^                 │                 connection broken   -> wait for the gate, watch on
      └── 410, refused ─┘                 410                 -> list at once

A full list replaces everything: that is what finds objects that vanished while nobody watched.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from typing import Protocol

from virtualserver.cluster.errors import ApiError, Gone, NotFound, Unreachable
from virtualserver.cluster.pacing import Backoff
from virtualserver.cluster.port import INACTIVITY_TIMEOUT, Reading
from virtualserver.cluster.resources import Resource
from virtualserver.plan.world import Json, ObjectKey, key_of

log = logging.getLogger(__name__)

WATCH_SECONDS = (240.0, 300.0)
"""The server is asked to end a watch after a time in this range, so that nodes do not all come back together."""

QUICK = 1.0
"""A watch that ends sooner (seconds) counts as a failure: without a wait it would be asked for 640 times a second."""


class Sink(Protocol):
    """Where objects go. ``put`` may return False to say that nothing of interest has changed."""

    def replace(self, kind: str, objects: Iterable[Json]) -> object:
        """Take a full list: what is not in it is gone."""

    def put(self, kind: str, obj: Json) -> object:
        """Take one object."""

    def drop(self, kind: str, key: ObjectKey) -> object:
        """Forget one object."""


class Fanout:
    """Several sinks as one; a change counts when any of them calls it one."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def replace(self, kind: str, objects: Iterable[Json]) -> None:
        """Hand a full list to all."""
        listed = list(objects)
        for sink in self._sinks:
            sink.replace(kind, listed)

    def put(self, kind: str, obj: Json) -> bool:
        """Hand an object to all."""
        answers = [sink.put(kind, obj) for sink in self._sinks]
        return any(answer is not False for answer in answers)

    def drop(self, kind: str, key: ObjectKey) -> None:
        """Let all forget an object."""
        for sink in self._sinks:
            sink.drop(kind, key)


class Reflector:
    """Keeps ``sink`` equal to all objects of ``resource``; ``run`` never ends and never raises (but cancels).

    ``synced`` is set after the first full list and stays set: from then on what is known may be old, but is
    whole. ``on_change`` is called (in the event loop) after every change that the sink calls one.
    """

    def __init__(
        self,
        api: Reading,
        resource: Resource,
        sink: Sink,
        *,
        on_change: Callable[[], object] = lambda: None,
        inactivity: float = INACTIVITY_TIMEOUT,
        backoff: Backoff | None = None,
    ) -> None:
        self._api, self._sink, self._on_change, self._inactivity = api, sink, on_change, inactivity
        self._backoff = backoff or Backoff()
        self._version = ""
        self._heard: float | None = None
        self._opened: float | None = None
        self._gone_before = False
        self.resource = resource
        self.synced = asyncio.Event()
        self.connected = False
        self.lists = 0

    @property
    def stale_since(self) -> float | None:
        """Return when (event-loop time, seconds) we last heard from the API server; None while connected."""
        return None if self.connected else (self._heard or 0.0)

    async def run(self) -> None:
        """List, watch and recover, until cancelled."""
        while True:
            self._opened = None
            try:
                if not self._version:
                    await self._list()
                await self._follow()
                await self._recover(None)
            except Exception as error:
                self.connected = False
                await self._recover(error)

    async def _recover(self, error: Exception | None) -> None:
        """Decide where to go on, and wait as long as it takes for that to make sense."""
        now = asyncio.get_running_loop().time()
        lasted = self._opened is not None and now - self._opened >= QUICK
        gone_again, self._gone_before = self._gone_before and not lasted, isinstance(error, Gone)
        if lasted:
            self._backoff.reset()
        if error is not None:
            self._report(error)
            if not (isinstance(error, Unreachable) and error.status == 0):
                self._version = ""
        if isinstance(error, Unreachable) and await self._api.gate.passed():
            self._backoff.reset()
        elif isinstance(error, Gone) and not gone_again:
            pass
        elif error is not None or not lasted:
            await asyncio.sleep(self._backoff.next())

    async def _list(self) -> None:
        try:
            objects, version = await self._api.list(self.resource)
        except NotFound:
            if not self.resource.optional:
                raise
            objects, version = [], ""
        self._sink.replace(self.resource.kind, objects)
        self.lists += 1
        self._version = version
        self._alive()
        self.synced.set()
        self._on_change()

    async def _follow(self) -> None:
        self._opened = asyncio.get_running_loop().time()
        if not self._version:  # a kind that this cluster does not have
            await asyncio.sleep(random.uniform(*WATCH_SECONDS))
            return
        seconds = random.uniform(*WATCH_SECONDS)
        async with self._api.watch(self.resource, self._version, seconds, self._inactivity) as events:
            self._alive()
            async for kind, obj in events:
                self._alive()
                self._take(kind, obj)

    def _take(self, kind: str, obj: Json) -> None:
        changed: object = False
        try:
            if kind in ("ADDED", "MODIFIED"):
                changed = self._sink.put(self.resource.kind, obj)
            elif kind == "DELETED":
                changed = self._sink.drop(self.resource.kind, key_of(obj)) or True
        except Exception:  # one unreadable object must not stop the others
            log.exception("object not taken", extra={"kind": self.resource.kind, "object": str(key_of(obj))})
        self._version = obj["metadata"]["resourceVersion"]
        if changed is not False:
            self._on_change()

    def _alive(self) -> None:
        self._heard = asyncio.get_running_loop().time()
        self.connected = True

    def _report(self, error: Exception) -> None:
        extra = {"kind": self.resource.kind}
        if isinstance(error, Gone):
            log.info("resource version too old, listing again", extra=extra)
        elif isinstance(error, ApiError):
            log.warning("watch broken: %s", error, extra=extra)
        else:
            log.error("watch broken", exc_info=error, extra=extra)
