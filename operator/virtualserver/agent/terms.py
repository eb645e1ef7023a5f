"""Terms of this node as active director: when one has ended, the connections of that term are forgotten.

Old entries of a director that returns would override the hash and what is mirrored, and send clients that use their
ports again to the wrong real server. So its services are taken out while ``expire_nodest_conn`` ends their
connections, and programmed again once the kernel's table holds none of them; before that it may not become active.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from virtualserver.agent.record import Record
from virtualserver.kernel.port import Kernel
from virtualserver.model.types import IPAddress, State
from virtualserver.plan import vrrp
from virtualserver.plan.desired import directed_groups
from virtualserver.plan.verdicts import addresses, judge
from virtualserver.plan.world import World

log = logging.getLogger(__name__)

LONGEST = 15.0
"""Seconds after which services and connections that the kernel keeps all the same are put up with; its timers end
connections, and who waits for ever never stands by."""


class Terms:
    """``taken`` says whether another director is active for a virtual router now. For the programmer's thread."""

    def __init__(
        self, kernel: Kernel, record: Record, taken: Callable[[int], bool], clock: Callable[[], float]
    ) -> None:
        self._kernel, self._record, self._taken, self._clock = kernel, record, taken, clock
        self._since: dict[str, float] = {}

    def look(self, world: World, node: str, actual: State) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """Return the groups that this node is active in, those whose connections are to be forgotten first, and those
        that it was active in while nobody is known to be active now: it may become so again, with its connections.

        Raises KernelError and RecordError.
        """
        active, groups = vrrp.active(world, node, actual), directed_groups(world, node)
        known = self._record.owned.served | active
        served = known & groups.keys()
        ended = {name for name in served - active if name in self._since or self._taken(vrrp.router_id(groups[name]))}
        found = judge(world) if ended else {}
        forgotten = {name for name in ended if self._forgotten(name, addresses(world, found, name), actual)}
        self._since = {name: since for name, since in self._since.items() if name in ended - forgotten}
        # what it is no director of for a while, as when it was given another label, it forgets when it is one again
        elsewhere = known - groups.keys()
        self._record.serve((served - forgotten) | (elsewhere & world.groups.keys() if world.groups else elsewhere))
        return active, frozenset(ended - forgotten), frozenset(served - active - ended)

    def _forgotten(self, name: str, virtual: frozenset[IPAddress], actual: State) -> bool:
        if name not in self._since:
            self._since[name] = self._clock()
            log.info("connections of a former term are being forgotten", extra={"group": name})
            return False
        if self._clock() - self._since[name] >= LONGEST:
            log.warning("connections of a former term are not forgotten in time", extra={"group": name})
            return True
        there = any(key.address in virtual for key in self._record.owned.services & actual.services.keys())
        if there or self._kernel.connections(virtual):  # the whole table is read: last, and not when it is late
            return False
        log.info("connections of a former term are forgotten", extra={"group": name})
        return True
