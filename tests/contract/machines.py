"""A client, a director, a node of real servers and a stranger, real ones; nodes are set up as the product does it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from ipaddress import ip_address
from pathlib import Path

from contract.places import Echo, Place, address_of, segment_of_all
from virtualserver.agent.record import Record
from virtualserver.kernel.netlink import Netlink
from virtualserver.model.types import (
    Clamp,
    DestinationContent,
    DestinationKey,
    LinkAddress,
    LinkKind,
    Owned,
    OwnLink,
    Protocol,
    Rules,
    Service,
    ServiceContent,
    ServiceKey,
    State,
    Tunnel,
)
from virtualserver.plan import settings
from virtualserver.plan.diff import conflicts, diff
from virtualserver.plan.tunnels import HOLDER, Way, reception, segment

PORT = 7
MTU = 1500
VIP = {version: address_of(100, version) for version in (4, 6)}
PLACEHOLDER = ip_address("192.0.0.8")
"""RFC 7600's address of no host: a device without any IPv4 address drops all IPv4 under rp_filter, loose or strict
(``fib_frontend.c``: ``__fib_validate_source``)."""
KEY = {version: ServiceKey(Protocol.TCP, vip, PORT) for version, vip in VIP.items()}


@dataclass
class Node:
    """A place that is brought to a state by the product's own record, diff and hands."""

    place: Place
    kernel: Netlink
    record: Record
    rules: bool = True

    def bring(self, desired: State) -> int:
        """Return how many passes it took to come to rest."""
        for passes in range(6):
            actual = self.read(desired)
            found = conflicts(desired, actual, self.record.owned)
            assert not any(astuple(found)), found
            operations = diff(desired, actual, self.record.owned, complete=True)
            if not operations:
                self.record.settle(desired, actual)
                return passes
            self.record.claim(operations, actual)
            outcomes = self.place.call(self.kernel.apply, operations)
            assert all(outcome.ok for outcome in outcomes), [one.message for one in outcomes if not one.ok]
        raise AssertionError(f"does not come to rest: {operations}")

    def read(self, desired: State) -> State:
        names = (*desired.sysctls, *self.record.owned.sysctls)
        return self.place.call(self.kernel.read, names, rules=self.rules)

    def clean(self) -> None:
        """Remove what the record calls ours; nothing may be left."""
        self.bring(State())
        assert self.record.owned == Owned()


@dataclass
class Machines:
    """All of them, and what serves at ``PORT`` of the node."""

    client: Place
    director: Node
    node: Node
    stranger: Place
    echo: Echo

    def forward(self, version: int, content: DestinationContent, outer: int) -> None:
        """Make the director send what comes to the virtual address to the node."""
        server = DestinationKey(self.node.place.address(outer), PORT)
        bits = VIP[version].max_prefixlen
        service = Service(ServiceContent("rr", persistence_prefix=bits), {server: content})
        self.director.bring(State({KEY[version]: service}, frozenset({LinkAddress("eth0", VIP[version], bits)})))

    def clean(self) -> None:
        """Remove all of the product's, connections included.

        The kernel keeps one cached route for each real server, whatever the forwarding: packets of connections that
        still go through a tunnel would spoil it for new ones by Direct Routing (``ip_vs_xmit.c``: ``dest_dst``).
        """
        self.director.clean()
        self.node.clean()
        limit = time.monotonic() + 5
        while len(self.director.place.run("ipvsadm -Lnc").splitlines()) > 2:
            assert time.monotonic() < limit, "the director's connections do not end"
            time.sleep(0.1)

    def ways(self, tunnels: Iterable[Tunnel]) -> list[Way]:
        """Return every way in which the director can send to the node by these tunnels."""
        return [
            Way(tunnel, inner, self.director.place.address(outer), self.node.place.address(outer))
            for tunnel in tunnels
            for inner in (4, 6)
            for outer in (4, 6)
        ]


@contextmanager
def machines(folder: Path) -> Iterator[Machines]:
    """Make them; ``folder`` keeps the records. The node filters by reverse path, strictly."""
    with ExitStack() as stack:
        stack.enter_context(segment_of_all())
        names = (("client", 2), ("director", 11), ("node", 21), ("stranger", 66))
        client, director, node, stranger = (stack.enter_context(Place(name, number)) for name, number in names)
        node.sysctl("net/ipv4/conf/all/rp_filter", 1)
        director.sysctl("net/ipv4/vs/expire_nodest_conn", 1)
        echo = stack.enter_context(Echo(node, PORT))
        nodes = [Node(place, place.call(Netlink), Record(folder / place.name)) for place in (director, node)]
        for one in nodes:
            stack.callback(one.kernel.close)
        nodes[0].rules = False  # a director has none here, and each look costs processes
        yield Machines(client, nodes[0], nodes[1], stranger, echo)


def receiving(ways: Iterable[Way], services: dict[ServiceKey, Service] | None = None) -> State:
    """Return the state of a node that holds the virtual addresses and takes packets by these ways, and by none.

    ``services`` are those of its own table.
    """
    ways = list(ways)
    found = reception(ways)
    links = {**found.links, HOLDER: OwnLink(LinkKind.DUMMY)}
    held = {LinkAddress(HOLDER, vip, vip.max_prefixlen) for vip in VIP.values()}
    held |= {LinkAddress(name, PLACEHOLDER, 32) for name, link in found.links.items() if link.kind is not LinkKind.SIT}
    clamps = {Clamp(VIP[inner], size) for inner in (4, 6) if (size := shortest(ways, inner))}
    return State(
        services=services or {},
        addresses=frozenset(held),
        sysctls=settings.real_server(["eth0"], links, services or ()),
        rules=Rules(
            tunnelled=found.admissions, clamped=frozenset(clamps), sealed=frozenset(VIP.values() if ways else ())
        ),
        own_links=links,
        decapsulations=found.decapsulations,
    )


def shortest(ways: Iterable[Way], inner: int) -> int:
    """Return the longest segment, in bytes, that fits through each of these ways; 0 without any."""
    sizes = [segment(way.tunnel, inner, way.node.version, MTU) for way in ways if way.inner == inner]
    return min(sizes, default=0)
