"""What an agent tells over HTTP: its connections to the other directors of a group, its figures to anybody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address

from aiohttp import web

from virtualserver.agent.metrics import Held
from virtualserver.agent.slices import slices
from virtualserver.agent.view import View
from virtualserver.health import Handler
from virtualserver.kernel import connections
from virtualserver.kernel.port import KernelError
from virtualserver.model.addresses import read_address
from virtualserver.model.types import IPAddress
from virtualserver.plan import mirroring, vrrp

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Directors that are answered at the same time."""

PATIENCE = 30.0
"""Seconds for which somebody who was answered may not read on: others wait."""

_LOOKED_AT = 10
"""Of a table in which other groups have most of the entries, so many times what was asked for is looked at."""

Told = Callable[[Iterable[str]], Iterator[str]]


class Answers:
    """``lines`` reads the kernel's table, ``held`` what it counts: both block. ``text`` makes figures of the latter."""

    def __init__(
        self,
        node: str,
        view: Callable[[], View | None],
        lines: Callable[[], Iterator[str]],
        held: Callable[[], Held],
        text: Callable[[Held], str],
    ) -> None:
        self._node, self._view, self._lines, self._held, self._text = node, view, lines, held, text
        self.busy = 0

    @property
    def handlers(self) -> dict[str, Handler]:
        """What is answered, by path."""
        return {"/connections": self.connections, "/metrics": self.metrics}

    async def metrics(self, _request: web.Request) -> web.StreamResponse:
        """Answer with all figures; those of the kernel are left out when it cannot be read."""
        try:
            held = await asyncio.to_thread(self._held)
        except KernelError as error:
            log.warning("connections are not counted: %s", error)
            held = {}
        return web.Response(text=self._text(held), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def connections(self, request: web.Request) -> web.StreamResponse:
        """Answer with the entries of a group's virtual servers, when this node is its active director.

        A stream that ends early is broken off, so that it is not taken for the whole.
        """
        view, group = self._view(), request.query.get("group", "")
        if view is None or not self._is_peer(view, group, request.remote):
            return web.Response(status=403, text="only directors of the group are told")
        if group not in view.standing.active:
            return web.Response(status=409, text="it is not active")
        if not view.actual.services:  # nothing would be told, and be taken for the whole
            return web.Response(status=503, text="its kernel cannot be read, or is being programmed")
        first = request.query.get("first", "0")
        if not first.isdecimal():
            return web.Response(status=400, text="first must be a number")
        if self.busy >= AT_ONCE:
            return web.Response(status=503, text="it answers too many others")
        self.busy += 1
        try:
            return await self._stream(request, self._told(view, group), int(first))
        finally:
            self.busy -= 1

    async def _stream(self, request: web.Request, told: Told, first: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            await self._write(response, told, first)
        except (KernelError, TimeoutError) as error:
            log.error("connections are not told: %s", error or f"nobody has read on for {PATIENCE:.0f} s")
            response.force_close()
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
        return response

    async def _write(self, response: web.StreamResponse, told: Told, first: int) -> None:
        left, unseen = first, first * _LOOKED_AT
        async for part in slices(self._lines()):
            kept = list(told(part))
            if first:
                kept = kept[:left]
                left, unseen = left - len(kept), unseen - len(part)
            async with asyncio.timeout(PATIENCE):
                await response.write("".join(kept).encode() or b"\n")  # who waits hears that it goes on
            if first and (not left or unseen <= 0):
                return

    @staticmethod
    def _told(view: View, group: str) -> Told:
        """Return what picks the lines that others should have.

        The kernel keeps connections of a real server that has been removed until they end, and serves them no more.
        """
        mine = (spec for spec in view.plan.accepted.values() if spec.director_group == group)
        virtual = frozenset(read_address(text) for spec in mine for text in spec.addresses)
        take = mirroring.taker(view.actual.services)

        def told(lines: Iterable[str]) -> Iterator[str]:
            for line in connections.of(lines, virtual):
                one = connections.entry(line)
                if one is not None and take(one) is not None:
                    yield line

        return told

    def _is_peer(self, view: View, name: str, remote: str | None) -> bool:
        group = view.world.groups.get(name)
        if group is None or group.spec is None or remote is None or name not in view.plan.groups:
            return False
        known = {one for found in vrrp.peers(view.world, group, self._node).values() for one in found}
        return _plain(remote) in known


def _plain(remote: str) -> IPAddress:
    """Return the address of a client; a socket for both families writes IPv4 as IPv6."""
    found = ip_address(remote.partition("%")[0])
    return (found.ipv4_mapped or found) if found.version == 6 else found
