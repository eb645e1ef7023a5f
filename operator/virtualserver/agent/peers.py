"""Asks the agents of other directors for the connections that their kernels keep."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

import aiohttp

from virtualserver.model.types import IPAddress

_CONNECT, _BEGIN, _READ = 2.0, 3.0, 10.0
"""Seconds: until it is connected, until it begins to answer (at once, when its agent is at work), and between parts."""

STRANGER = 403
"""It does not know whom it is asked by. A node asks from another address of its own on another network, and only those
in its report and in its Node object are known."""


class PeerError(Exception):
    """A director did not tell its connections; the message says why."""


class Peers(Protocol):
    """The other directors."""

    def ask(self, addresses: Sequence[IPAddress], group: str, first: int | None) -> AsyncGenerator[list[str], None]:
        """Yield the connections of a group that an active director keeps, as its kernel prints them.

        The director is asked at one address after the other; ``first`` is how many entries are enough. Raises
        PeerError when it is not active, cannot be asked, or breaks off.
        """
        ...


class HttpPeers:
    """Over HTTP, from the port at which agents tell of themselves."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(
        self, addresses: Sequence[IPAddress], group: str, first: int | None
    ) -> AsyncGenerator[list[str], None]:
        """Yield them, as ``Peers`` promises."""
        response = await self._response(addresses, {"group": group} | ({"first": str(first)} if first else {}))
        try:
            left = ""
            async for data in response.content.iter_any():
                *lines, left = (left + data.decode("ascii", "replace")).split("\n")
                if lines:
                    yield lines
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise PeerError(f"it breaks off: {_words(error)}") from error
        finally:
            response.close()

    async def _response(self, addresses: Sequence[IPAddress], query: dict[str, str]) -> aiohttp.ClientResponse:
        if self._session is None:
            limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_READ)
            self._session = aiohttp.ClientSession(timeout=limits)
        found = "it has no address"
        for address in addresses:
            host = f"[{address}]" if address.version == 6 else str(address)
            try:
                async with asyncio.timeout(_BEGIN):
                    response = await self._session.get(f"http://{host}:{self._port}/connections", params=query)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                found = f"{address}: {_words(error)}"
                continue
            if response.status == 200:
                return response
            found = f"{address}: {await self._text(response) or response.status}"
            if response.status != STRANGER:
                break
        raise PeerError(found)

    async def _text(self, response: aiohttp.ClientResponse) -> str:
        try:
            return (await response.content.read(200)).decode("utf-8", "replace").strip()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return ""
        finally:
            response.close()


def _words(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return os.strerror(error.os_error.errno) if error.os_error.errno else str(error.os_error)
    return str(error) or type(error).__name__
