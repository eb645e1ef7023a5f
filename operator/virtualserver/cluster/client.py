"""A client for raw objects: requests are the library's, objects stay dicts, every call has a deadline."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from virtualserver.cluster.credentials import Clients, load_configuration
from virtualserver.cluster.errors import ApiError, CredentialsError, Unreachable, error_for
from virtualserver.cluster.pacing import Gate
from virtualserver.cluster.port import INACTIVITY_TIMEOUT, Events
from virtualserver.cluster.resources import Resource
from virtualserver.plan.world import Json, ObjectKey

CONNECT_TIMEOUT = 3.0
REQUEST_TIMEOUT = 10.0
LIST_TIMEOUT = 30.0
PROBE_TIMEOUT = 3.0
"""Seconds."""

OPEN_TIMEOUT = 8.0
"""Seconds within which a watch must be open."""

GOODBYE = 0.25
"""Seconds; what aiohttp's documentation advises between closing a session with TLS and ending the event loop."""

PAGE = 500
"""Objects a page of a list holds."""

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

_BROKEN = (aiohttp.ClientError, OSError, TimeoutError, CredentialsError)
Query = list[tuple[str, str]]


_DEFAULT_LIMITS = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT, sock_connect=CONNECT_TIMEOUT)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    query: Query = field(default_factory=list)
    body: Json | None = None
    content_type: str = "application/json"
    limits: aiohttp.ClientTimeout = _DEFAULT_LIMITS


class Api:
    """The API server. Every call raises ApiError or one of its kinds, and nothing else."""

    def __init__(self, load: Callable[[], Awaitable[Configuration]] = load_configuration) -> None:
        self._clients = Clients(load)
        self.gate = Gate(self._ready)

    async def open(self) -> None:
        """Load the credentials now; raises CredentialsError, for a clear word at start-up."""
        await self._clients.current()

    async def close(self) -> None:
        """Close all connections, and give TLS the moment that it needs to say goodbye in this event loop."""
        await self.gate.close()
        await self._clients.close()
        await asyncio.sleep(GOODBYE)

    async def list(self, resource: Resource) -> tuple[list[dict[str, Any]], str]:
        """Return all objects and the resource version at which all of them were so."""
        limits = aiohttp.ClientTimeout(total=LIST_TIMEOUT, sock_connect=CONNECT_TIMEOUT)
        items: list[dict[str, Any]] = []
        query: Query = [("limit", str(PAGE))]
        while True:
            page = await self._json(_Request("GET", resource.path(), query, limits=limits))
            items += page.get("items") or []
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return items, metadata.get("resourceVersion", "")
            query = [("limit", str(PAGE)), ("continue", metadata["continue"])]

    async def read(self, resource: Resource, key: ObjectKey) -> dict[str, Any]:
        """Return one object as it is now."""
        return await self._json(_Request("GET", resource.path(key)))

    @asynccontextmanager
    async def watch(
        self, resource: Resource, version: str, seconds: float, inactivity: float = INACTIVITY_TIMEOUT
    ) -> AsyncIterator[Events]:
        """Open a watch; entering it means that the API server has accepted it.

        The stream ends when the server ends it (after ``seconds``) and after ``inactivity`` seconds without a
        byte: opening the next one shows whether the line is dead. It raises Gone, Unreachable or ApiError.
        Bookmarks are passed on as ``BOOKMARK``.
        """
        query: Query = [
            ("watch", "true"),
            ("resourceVersion", version),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(int(seconds))),
        ]
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=inactivity)
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                response = await self._send(_Request("GET", resource.path(), query, limits=limits))
        except _BROKEN as error:
            raise _unreachable(error) from error
        try:
            yield _events(response)
        finally:
            response.close()

    async def apply_status(self, resource: Resource, key: ObjectKey, body: Json, field_manager: str) -> dict[str, Any]:
        """Server-side apply to ``/status`` with force; returns the object as it is then."""
        query = [("fieldManager", field_manager), ("force", "true")]
        return await self._json(_Request("PATCH", resource.path(key, "status"), query, body, APPLY))

    async def create(self, resource: Resource, namespace: str, body: Json) -> dict[str, Any]:
        """Create an object."""
        return await self._json(_Request("POST", resource.collection(namespace), body=body))

    async def patch(self, resource: Resource, key: ObjectKey, body: Json) -> dict[str, Any]:
        """Merge-patch an object."""
        return await self._json(_Request("PATCH", resource.path(key), body=body, content_type=MERGE))

    async def patch_status(self, resource: Resource, key: ObjectKey, body: Json, field_manager: str) -> dict[str, Any]:
        """Merge-patch an object's ``/status``: what is null there goes, whoever has written it."""
        query = [("fieldManager", field_manager)]
        return await self._json(_Request("PATCH", resource.path(key, "status"), query, body, MERGE))

    async def _ready(self) -> bool:
        """Return whether the API server answers; a refusal (4xx) is an answer, 500 says "not ready yet"."""
        limits = aiohttp.ClientTimeout(total=PROBE_TIMEOUT)
        try:
            (await self._send(_Request("GET", "/readyz", limits=limits))).release()
        except ApiError as error:
            return 400 <= error.status < 500
        except _BROKEN:
            return False
        return True

    async def _json(self, request: _Request) -> dict[str, Any]:
        try:
            response = await self._send(request)
            try:
                made: dict[str, Any] = json.loads(await response.read())
                return made
            finally:
                response.release()
        except _BROKEN as error:
            raise _unreachable(error) from error
        except ValueError as error:
            raise Unreachable(0, f"{request.method} {request.path}: the answer is no JSON") from error

    async def _send(self, request: _Request) -> aiohttp.ClientResponse:
        """Send once, or twice when the credentials were refused and can be read again; raises on 4xx and 5xx."""
        client = await self._clients.current()
        response = await self._send_with(client, request)
        if response.status == 401:
            renewed = await self._clients.after_refusal(client)
            if renewed is not client:
                response.close()
                response = await self._send_with(renewed, request)
        if response.status >= 400:
            try:
                raise error_for(response.status, _message(await response.read()))
            finally:
                response.release()
        return response

    async def _send_with(self, client: ApiClient, request: _Request) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "Content-Type": request.content_type}
        made = await client.param_serialize(
            request.method,
            request.path,
            query_params=request.query,
            header_params=headers,
            body=request.body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = await client.call_api(*made, _request_timeout=request.limits)
        except aiohttp.ClientConnectorCertificateError:
            await self._clients.after_refusal(client)
            raise
        response: aiohttp.ClientResponse = answer.response
        return response


async def _events(response: aiohttp.ClientResponse) -> Events:
    while True:
        try:
            line = await response.content.readline()
        except TimeoutError:
            return
        except (*_BROKEN, ValueError) as error:
            raise _unreachable(error) from error
        if not line.endswith(b"\n"):
            return
        try:
            event = json.loads(line)
            kind, obj = event["type"], event["object"]
        except (ValueError, KeyError, TypeError) as error:
            raise Unreachable(0, f"the watch sent no event: {line[:80]!r}") from error
        if kind == "ERROR":
            raise error_for(obj.get("code", 500), obj.get("message", ""))
        yield kind, obj


def _unreachable(error: BaseException) -> Unreachable:
    return Unreachable(0, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _message(body: bytes) -> str:
    try:
        status: Mapping[str, Any] = json.loads(body)
        return str(status.get("message", ""))
    except (ValueError, AttributeError):
        return body[:200].decode(errors="replace").strip()
