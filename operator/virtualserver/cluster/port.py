"""What watchers and writers ask of an API server; ``client.Api`` is the real one, and needs heavy libraries.

Every call raises ``errors.ApiError`` or one of its kinds, and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from virtualserver.cluster.pacing import Gate
from virtualserver.cluster.resources import Resource
from virtualserver.plan.world import Json, ObjectKey

INACTIVITY_TIMEOUT = 60.0
"""Seconds. A watch without a byte for so long is opened anew; with the time that takes, a dead line shows in 70 s.

Bookmarks cannot be relied on for that: a kind that nobody changes gets none (250 s without one, API server 1.36).
"""

Events = AsyncIterator[tuple[str, dict[str, Any]]]
"""What happened (``ADDED``, ``MODIFIED``, ``DELETED``, ``BOOKMARK``), and the object."""


class Gated(Protocol):
    """Has a gate that holds everyone back while the API server is away."""

    @property
    def gate(self) -> Gate:
        """The gate, shared by all who ask this API server."""
        ...


class Reading(Gated, Protocol):
    """Lists and watches."""

    async def list(self, resource: Resource, /) -> tuple[list[dict[str, Any]], str]:
        """Return all objects and the resource version at which all of them were so."""
        ...

    def watch(
        self, resource: Resource, version: str, seconds: float, inactivity: float, /
    ) -> AbstractAsyncContextManager[Events]:
        """Open a watch for at most ``seconds``; it ends sooner after ``inactivity`` seconds without a byte."""
        ...


class StatusWriting(Gated, Protocol):
    """Writes statuses."""

    async def apply_status(
        self, resource: Resource, key: ObjectKey, body: Json, field_manager: str, /
    ) -> dict[str, Any]:
        """Server-side apply to ``/status`` with force; returns the object as it is then."""
        ...


class EventWriting(Gated, Protocol):
    """Makes and counts up events."""

    async def create(self, resource: Resource, namespace: str, body: Json, /) -> dict[str, Any]:
        """Create an object."""
        ...

    async def patch(self, resource: Resource, key: ObjectKey, body: Json, /) -> dict[str, Any]:
        """Merge-patch an object."""
        ...
