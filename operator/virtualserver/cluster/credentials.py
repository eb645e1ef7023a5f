"""Host, TLS and credentials: from where the library finds them, read again when they are refused."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from virtualserver import __version__
from virtualserver.cluster.errors import CredentialsError

log = logging.getLogger(__name__)

RETIRED = 2
"""Clients with older credentials that are kept open for what is under way with them."""


async def load_configuration(otherwise: str | None = None) -> Configuration:
    """Return host and credentials from the file named by KUBECONFIG, or ``otherwise``, else those of the pod.

    Raises CredentialsError when there are none.
    """
    configuration = Configuration()
    path = os.environ.get("KUBECONFIG") or otherwise
    try:
        if path:
            await config.load_kube_config(  # type: ignore[no-untyped-call]  # the library has no types
                path, client_configuration=configuration, persist_config=False
            )
        else:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # the library has no types
    except Exception as error:  # the library raises whatever a malformed file makes it stumble over
        raise CredentialsError(f"no credentials from {path or 'the pod (KUBECONFIG is not set)'}: {error}") from error
    return configuration


async def load_for_a_person() -> Configuration:
    """Return host and credentials as kubectl finds them: KUBECONFIG, ``~/.kube/config``, the pod's."""
    usual = Path.home() / ".kube" / "config"
    return await load_configuration(str(usual) if usual.is_file() else None)


class Clients:
    """The library's client, made anew when what it was made from has changed.

    The library re-reads the pod's token once a minute by the wall clock; the tokenFile of a KUBECONFIG and
    certificates it never reads again. Reading all of it again after a refusal covers every case; requests that
    are under way with the old ones go on.
    """

    def __init__(self, load: Callable[[], Awaitable[Configuration]]) -> None:
        self._load = load
        self._client: ApiClient | None = None
        self._made_from: tuple[object, ...] = ()
        self._retired: list[ApiClient] = []
        self._loading = asyncio.Lock()

    async def current(self) -> ApiClient:
        """Return the client; the first time it reads the credentials and raises CredentialsError."""
        async with self._loading:
            return self._client or await self._made(await self._load())

    async def after_refusal(self, refused: ApiClient) -> ApiClient:
        """Return a client with what is to be read now, or ``refused`` itself when that is still the same."""
        async with self._loading:
            if self._client is not None and self._client is not refused:
                return self._client
            fresh = await self._load()
            if self._client is not None and _fingerprint(fresh) == self._made_from:
                return self._client
            return await self._made(fresh)

    async def close(self) -> None:
        """Close all connections."""
        clients = [*self._retired, *([self._client] if self._client else [])]
        self._retired, self._client = [], None
        for client in clients:
            await client.close()  # type: ignore[no-untyped-call]  # the library has no types

    async def _made(self, configuration: Configuration) -> ApiClient:
        try:
            made = ApiClient(configuration)
        except (OSError, ValueError) as error:
            raise CredentialsError(f"certificates cannot be used: {error}") from error
        made.user_agent = f"virtualserver/{__version__}"
        if self._client is not None:
            log.info("using new credentials")
            self._retired.append(self._client)
        self._client, self._made_from = made, _fingerprint(configuration)
        while len(self._retired) > RETIRED:
            await self._retired.pop(0).close()  # type: ignore[no-untyped-call]  # the library has no types
        return made


def _fingerprint(configuration: Configuration) -> tuple[object, ...]:
    """Return what tells credentials apart, files by their content."""
    files = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
    contents = (Path(name).read_bytes() if name and Path(name).is_file() else b"" for name in files)
    return configuration.host, dict(configuration.api_key), *contents
