"""Events about objects, for people: never in the way, never more than a reader can bear.

The same event again within ``WINDOW`` becomes a count in the first one's ``series``; an object that talks too
much is cut off for a while; a full queue drops. Nothing here blocks, raises, or is waited for.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from virtualserver.api.reasons import Reason
from virtualserver.cluster.errors import ApiError, Unreachable
from virtualserver.cluster.port import EventWriting
from virtualserver.cluster.resources import EVENTS, Resource
from virtualserver.plan.world import ObjectKey

log = logging.getLogger(__name__)

WINDOW = 600.0
"""Seconds in which the same event again is counted, not written."""

FLUSH = 10.0
"""Seconds between two writes of a growing count."""

BURST, REFILL = 25.0, 10.0
"""An object may have so many events at once, and one more each so many seconds."""

QUEUE = 1000
"""Events that wait for the API server at most; more are dropped."""


def micro_now() -> str:
    """Return the wall clock as ``MicroTime``; for readers only."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an event is about."""

    resource: Resource
    key: ObjectKey
    uid: str


@dataclass(frozen=True, slots=True)
class _Identity:
    subject: Subject
    type: str
    reason: str
    note: str


@dataclass(slots=True)
class _Written:
    """An event that stands in the API (or is on its way), and how often it has happened since."""

    key: ObjectKey
    first: float
    count: int = 1
    last: str = ""
    queued: bool = True
    flushed: float = 0.0
    created: bool = False


class EventWriter:
    """Writes events.k8s.io/v1 events in a background task; ``run`` it beside the rest.

    ``component`` is the reporting controller (``virtualserver-agent``), ``node`` its instance.
    """

    def __init__(self, api: EventWriting, component: str, node: str, *, now: Callable[[], str] = micro_now) -> None:
        self._api, self._component, self._node, self._now = api, component, node, now
        self._known: dict[_Identity, _Written] = {}
        self._budget: dict[str, tuple[float, float]] = {}
        self._queue: asyncio.Queue[_Identity] = asyncio.Queue(QUEUE)
        self._crowded = QUEUE
        self.dropped = 0

    def normal(self, subject: Subject, reason: Reason, note: str) -> None:
        """Tell something good or neutral."""
        self._emit(_Identity(subject, "Normal", str(reason), note[:1024]))

    def warning(self, subject: Subject, reason: Reason, note: str) -> None:
        """Tell something that a person should look at."""
        self._emit(_Identity(subject, "Warning", str(reason), note[:1024]))

    async def run(self) -> None:
        """Write what was told, until cancelled."""
        while True:
            identity = await self._queue.get()
            try:
                await self._write(identity)
            except Exception:  # an event is never worth a failure elsewhere
                log.exception("event lost", extra={"reason": identity.reason})

    def _emit(self, identity: _Identity) -> None:
        now = asyncio.get_running_loop().time()
        self._expire(now)
        written = self._known.get(identity)
        if written is not None:
            written.count += 1
            written.last = self._now()
            if not written.queued and now - written.flushed >= FLUSH:
                self._enqueue(identity, written)
            return
        if not self._allowed(identity.subject.uid, now):
            self.dropped += 1
            return
        name = f"{identity.subject.key.name[:200]}.{secrets.token_hex(8)}"
        written = _Written(ObjectKey(identity.subject.key.namespace or "default", name), now, last=self._now())
        self._known[identity] = written
        self._enqueue(identity, written)

    def _enqueue(self, identity: _Identity, written: _Written) -> None:
        try:
            self._queue.put_nowait(identity)
            written.queued = True
        except asyncio.QueueFull:
            self.dropped += 1
            if not written.created:
                self._known.pop(identity, None)

    def _expire(self, now: float) -> None:
        """Forget what is older than the window; the oldest stand first."""
        while self._known:
            identity, written = next(iter(self._known.items()))
            if now - written.first < WINDOW or written.queued:
                break
            del self._known[identity]
        if len(self._budget) > self._crowded:
            full = [uid for uid, (left, at) in self._budget.items() if left + (now - at) / REFILL >= BURST]
            for uid in full:
                del self._budget[uid]
            self._crowded = max(QUEUE, 2 * len(self._budget))

    def _allowed(self, uid: str, now: float) -> bool:
        left, at = self._budget.get(uid, (BURST, now))
        left = min(BURST, left + (now - at) / REFILL)
        self._budget[uid] = (left - 1 if left >= 1 else left, now)
        return left >= 1

    async def _write(self, identity: _Identity) -> None:
        written = self._known[identity]
        while True:
            try:
                await self._send(identity, written)
                break
            except Unreachable:
                if not await self._api.gate.passed():
                    await asyncio.sleep(1.0)
            except ApiError as error:
                self.dropped += 1
                log.warning("event refused: %s", error, extra={"reason": identity.reason})
                break
        written.queued, written.created = False, True
        written.flushed = asyncio.get_running_loop().time()

    async def _send(self, identity: _Identity, written: _Written) -> None:
        series = {"count": written.count, "lastObservedTime": written.last}
        if written.created:
            await self._api.patch(EVENTS, written.key, {"series": series})
            return
        event = self._event(identity, written)
        if written.count > 1:
            event["series"] = series
        await self._api.create(EVENTS, written.key.namespace, event)

    def _event(self, identity: _Identity, written: _Written) -> dict[str, Any]:
        subject = identity.subject
        regarding = {
            "apiVersion": subject.resource.api_version,
            "kind": subject.resource.kind,
            "name": subject.key.name,
            "uid": subject.uid,
        }
        if subject.key.namespace:
            regarding["namespace"] = subject.key.namespace
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": written.key.name, "namespace": written.key.namespace},
            "eventTime": written.last,
            "reportingController": f"virtualserver.dev/{self._component}",
            "reportingInstance": self._node,
            "action": identity.reason,
            "reason": identity.reason,
            "regarding": regarding,
            "note": identity.note,
            "type": identity.type,
        }
