"""Are the agents of active directors there? Asked directly, because a heartbeat in the API would cost writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import aiohttp

from virtualserver.plan.world import World

log = logging.getLogger(__name__)

EVERY, TIMEOUT = 2.0, 2.0
"""Seconds between questions to one agent, and to wait for its answer."""

FAILURES = 3
"""Answers missed in a row after which an agent's report counts as old."""


class Agents:
    """Asks ``/healthz`` of the agents on the active directors."""

    def __init__(self, port: int, world: Callable[[], World], changed: Callable[[], None]) -> None:
        self._port, self._world, self._changed = port, world, changed
        self._failures: dict[str, int] = {}

    @property
    def unreachable(self) -> frozenset[str]:
        """Nodes whose agent does not answer."""
        return frozenset(node for node, failures in self._failures.items() if failures >= FAILURES)

    async def run(self) -> None:
        """Ask for ever, until cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session:
            while True:
                before = self.unreachable
                hosts = self._hosts(self._world())
                answers = await asyncio.gather(*(self._answers(session, host) for host in hosts.values()))
                self._failures = {
                    node: 0 if answered else self._failures.get(node, 0) + 1
                    for node, answered in zip(hosts, answers, strict=True)
                }
                if self.unreachable != before:
                    log.info("agents", extra={"unreachable": ",".join(sorted(self.unreachable)) or "none"})
                    self._changed()
                await asyncio.sleep(EVERY)

    def _hosts(self, world: World) -> Mapping[str, str]:
        hosts = {}
        for name in sorted({group.active for group in world.groups.values() if group.active}):
            node = world.nodes.get(name)
            if node is not None and node.addresses:
                address = min(node.addresses, key=lambda one: (one.version, int(one)))
                hosts[name] = f"[{address}]" if address.version == 6 else str(address)
        return hosts

    async def _answers(self, session: aiohttp.ClientSession, host: str) -> bool:
        try:
            async with session.get(f"http://{host}:{self._port}/healthz") as response:
                return response.status < 500
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
