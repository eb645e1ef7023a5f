"""The one door for status: server-side apply under one field manager, only what differs, never too often."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from virtualserver.cluster.errors import ApiError, NotFound, Unreachable
from virtualserver.cluster.managed import owned, same, stamped, version_of
from virtualserver.cluster.pacing import Backoff
from virtualserver.cluster.port import StatusWriting
from virtualserver.cluster.resources import Resource
from virtualserver.plan.world import Json, ObjectKey, key_of

log = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between two writes to one object; the first after a quiet time goes at once."""


def utc_now() -> str:
    """Return the wall clock as the API writes it. For readers only: nothing is decided by it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True)
class _Object:
    """What the API server holds of one object, and what we want there.

    ``raw`` is the wish as it was given, ``wanted`` the same with its times; None: we have said nothing yet.
    """

    uid: str
    version: int
    status: dict[str, Any]
    owned: dict[str, Any]
    wanted: dict[str, Any] | None = None
    raw: Json | None = None
    settled: tuple[dict[str, Any], dict[str, Any]] | None = None
    not_before: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(1.0, 30.0))

    @property
    def dirty(self) -> bool:
        """True when a write would change something.

        ``settled`` is what our last write became: an API server with an older definition drops fields, and
        must not be asked again and again.
        """
        return self.wanted is not None and not same(self.wanted, self.owned) and not self.stands

    @property
    def stands(self) -> bool:
        """True while what we wrote last is what we want, and nobody has changed it since."""
        if self.settled is None or self.wanted is None:
            return False
        return same(self.settled[0], self.wanted) and same(self.settled[1], self.owned)


class StatusWriter:
    """Writes one field manager's part of the status of all objects of one kind.

    Feed it from the watch (it has the shape of a ``Sink``); ``set`` never blocks. A writer always says its
    whole part: what it leaves out, the API server removes. While the API server is away only the newest wish
    of each object is kept. Objects that were never seen, or are gone, are never written.
    """

    def __init__(
        self,
        api: StatusWriting,
        resource: Resource,
        field_manager: str,
        *,
        now: Callable[[], str] = utc_now,
        interval: float = INTERVAL,
        concurrency: int = 8,
        on_taken: Callable[[ObjectKey], bool] = lambda _: False,
        on_seen: Callable[[Json], None] = lambda _: None,
    ) -> None:
        """Take what it needs.

        ``on_taken`` says whether to give way when another writer takes over our fields. ``on_seen`` is called with
        every newer view of an object, the answers to our own writes included.
        """
        self._api, self._resource, self.field_manager = api, resource, field_manager
        self._now, self._interval, self._on_taken, self._on_seen = now, interval, on_taken, on_seen
        self._slots = asyncio.Semaphore(concurrency)
        self._objects: dict[ObjectKey, _Object] = {}
        self._early: dict[ObjectKey, tuple[str, dict[str, Any]]] = {}
        self._tasks: dict[ObjectKey, asyncio.Task[None]] = {}
        self.writes = 0

    def set(self, key: ObjectKey, status: Json | None, uid: str = "") -> None:
        """Say what our part of an object's status shall be; None: nothing (all of ours is removed).

        With a ``uid``, what is about another object of that name is not said: one that was deleted meanwhile.

        Times (``lastTransitionTime``, ``since``, ``reported``, ``time``) may be left out: they are filled in, and kept
        as long as what they are about stays the same.
        """
        wish: Json = {} if status is None else status
        known = self._objects.get(key)
        if known is None:
            _, said = self._early.get(key, ("", {}))
            self._early[key] = uid, self._stamped(wish, said)
            return
        if uid and uid != known.uid:
            return
        if known.raw is not None and same(known.raw, wish):
            return
        known.raw = wish
        known.wanted = self._stamped(wish, known.wanted or known.status)
        self._wake(key, known)

    def leave(self, key: ObjectKey) -> None:
        """Insist on nothing: what we said of an object stays, or is taken over, until ``set`` says something again."""
        known = self._objects.get(key)
        self._early.pop(key, None)
        if known is not None:
            known.raw = known.wanted = None

    def seen(self, key: ObjectKey) -> dict[str, Any] | None:
        """Return the whole status of an object as last seen, None when there is no such object."""
        known = self._objects.get(key)
        return None if known is None else known.status

    def replace(self, kind: str, objects: Iterable[Json]) -> None:
        """Take a full list: objects that are not in it are gone."""
        listed = list(objects)
        for key in set(self._objects) - {key_of(obj) for obj in listed}:
            self.drop(kind, key)
        for obj in listed:
            self.put(kind, obj)

    def put(self, _kind: str, obj: Json) -> bool:
        """Take an object as it is now; returns False: it is no news for decisions."""
        self.observe(obj)
        return False

    def drop(self, _kind: str, key: ObjectKey) -> None:
        """Forget an object that is gone, and what we wanted of it."""
        self._objects.pop(key, None)
        self._early.pop(key, None)
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()

    def observe(self, obj: Json) -> None:
        """Take an object as it is now; writes when our part of it is not what we want."""
        key, metadata = key_of(obj), obj["metadata"]
        version = version_of(obj)
        known = self._objects.get(key)
        if known is not None and known.uid != metadata.get("uid"):
            self.drop("", key)
            known = None
        if known is not None and version < known.version:
            return
        status = dict(obj.get("status") or {})
        if known is None:
            uid = metadata.get("uid", "")
            about, early = self._early.pop(key, (uid, None))
            wanted = early if about in ("", uid) else None
            known = _Object(uid, version, status, {}, wanted=wanted, raw=wanted)
            self._objects[key] = known
        stood, known.owned = known.stands, owned(obj, self.field_manager)
        known.version, known.status = version, status
        if known.wanted is not None:
            known.wanted = self._stamped(known.wanted, status)
            if same(known.wanted, known.owned):
                known.settled = known.wanted, known.owned
            elif stood and not known.stands and self._on_taken(key):
                known.raw = known.wanted = None
        self._on_seen(obj)
        self._wake(key, known)

    async def close(self, flush: float = 0.0) -> None:
        """Stop; give pending writes up to ``flush`` seconds."""
        tasks = list(self._tasks.values())
        if tasks and flush > 0:
            await asyncio.wait(tasks, timeout=flush)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _stamped(self, wish: Json, known: Json) -> dict[str, Any]:
        return stamped(wish, known, self._now(), self._resource.kind)

    def _wake(self, key: ObjectKey, known: _Object) -> None:
        task = self._tasks.get(key)
        if known.dirty and (task is None or task.done()):
            self._tasks[key] = asyncio.create_task(self._settle(key, known), name=f"status {key}")

    async def _settle(self, key: ObjectKey, known: _Object) -> None:
        """Write until there is nothing to write; one task per object that needs it."""
        clock = asyncio.get_running_loop().time
        try:
            while known.dirty:
                await asyncio.sleep(known.not_before - clock())
                try:
                    async with self._slots:
                        if known.dirty:
                            known.not_before = clock() + self._interval
                            await self._write(key, known)
                    known.backoff.reset()
                except Unreachable:
                    if not await self._api.gate.passed():
                        await asyncio.sleep(known.backoff.next())
                except NotFound as error:
                    log.debug("status not written, the object is gone: %s", error, extra={"object": str(key)})
                    return
                except Exception as error:
                    known_error = error if not isinstance(error, ApiError) else None
                    log.warning("status refused: %s", error, exc_info=known_error, extra={"object": str(key)})
                    await asyncio.sleep(known.backoff.next())
        finally:
            if self._tasks.get(key) is asyncio.current_task():
                del self._tasks[key]

    async def _write(self, key: ObjectKey, known: _Object) -> None:
        wanted = known.wanted or {}
        body = self._resource.identity(key)
        if wanted:
            body["status"] = wanted
        self.writes += 1
        answer = await self._api.apply_status(self._resource, key, body, self.field_manager)
        known.settled = wanted, owned(answer, self.field_manager)
        if self._objects.get(key) is known:
            self.observe(answer)
