"""Are the agents of all directors there? Asked directly, because a heartbeat in the API would cost writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import aiohttp

from virtualserver.model.types import address_order
from virtualserver.plan.directors import members
from virtualserver.plan.world import World

log = logging.getLogger(__name__)

EVERY, TIMEOUT = 2.0, 2.0
"""Seconds between questions to one agent, and to wait for its answer."""

FAILURES = 3
"""Answers missed in a row after which an agent's report counts as old."""

PROVED = 600.0
"""Seconds for which an agent that wrote to the API counts as there, although it cannot be asked."""

Ask = Callable[[str], Awaitable[bool]]


class Agents:
    """Asks ``/healthz`` of the agents on all directors; ``changed`` is called when ``unreachable`` changes.

    A question is one small request, without a line to the API server's log, for each address of a director.
    """

    def __init__(self, port: int, world: Callable[[], World], changed: Callable[[], None]) -> None:
        self._port, self._world, self._changed = port, world, changed
        self._failures: dict[str, int] = {}
        self._proved: dict[str, float] = {}
        self._known: frozenset[str] = frozenset()
        self._awaited = False
        self.rounds = 0
        self.answered: dict[str, int] = {}

    @property
    def unreachable(self) -> frozenset[str]:
        """Nodes whose agent gives no sign of life."""
        now = asyncio.get_running_loop().time()
        silent = (node for node, failures in self._failures.items() if failures >= FAILURES)
        return frozenset(node for node in silent if self._proved.get(node, now) <= now)

    def again(self) -> None:
        """Call it a change when the next round is over, whatever it finds."""
        self._awaited = True

    def heard(self, node: str) -> None:
        """Note that an agent that does not answer has just written to the API: it lives, the way to it is closed."""
        if node not in self.unreachable:
            return
        self._proved[node] = asyncio.get_running_loop().time() + PROVED
        log.warning(
            "an agent works but does not answer: is its port open to the controller?",
            extra={"node": node, "port": self._port},
        )
        self._compare()

    async def run(self) -> None:
        """Ask for ever, until cancelled."""
        limits = aiohttp.ClientTimeout(total=TIMEOUT)
        async with aiohttp.ClientSession(timeout=limits, connector=aiohttp.TCPConnector(force_close=True)) as session:

            async def ask(url: str) -> bool:
                try:
                    async with session.get(url, allow_redirects=False) as response:
                        return response.status == 200
                except (aiohttp.ClientError, OSError, TimeoutError):
                    return False

            while True:
                await self.round(ask)
                await asyncio.sleep(EVERY)

    async def round(self, ask: Ask) -> None:
        """Ask every director's agent once, all at the same time."""
        self.rounds += 1
        number, awaited, self._awaited = self.rounds, self._awaited, False
        urls = self._urls(self._world())
        answers = await asyncio.gather(*(_any(ask, one) for one in urls.values()))
        self._failures = {
            node: 0 if answered else self._failures.get(node, 0) + 1
            for node, answered in zip(urls, answers, strict=True)
        }
        self._proved = {node: until for node, until in self._proved.items() if self._failures.get(node)}
        self.answered = {
            node: number if answered else self.answered.get(node, 0)
            for node, answered in zip(urls, answers, strict=True)
        }
        self._compare()
        if awaited:
            self._changed()

    def _compare(self) -> None:
        before, self._known = self._known, self.unreachable
        if self._known != before:
            log.warning("agents without a sign of life", extra={"nodes": ",".join(sorted(self._known)) or "none"})
            self._changed()

    def _urls(self, world: World) -> Mapping[str, Sequence[str]]:
        """Return where to ask for each director: every address of its node; one answer is enough."""
        names = {group.active for group in world.groups.values() if group.active}
        for group in world.groups.values():
            names.update(members(group, world.nodes))
        urls = {}
        for name in sorted(names):
            node = world.nodes.get(name)
            if node is not None and node.addresses:
                hosts = [
                    f"[{one}]" if one.version == 6 else str(one) for one in sorted(node.addresses, key=address_order)
                ]
                urls[name] = [f"http://{host}:{self._port}/healthz" for host in hosts]
        return urls


async def _any(ask: Ask, urls: Sequence[str]) -> bool:
    return any(await asyncio.gather(*(ask(url) for url in urls)))
