"""A director's packets reach a node that was set up by ``diff`` and ``Netlink.apply`` alone, and nobody else's do.

Real traffic between network namespaces. Collected only with VS_CONTRACT=netlink.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from itertools import product

import pytest

from contract.machines import KEY, MTU, PORT, VIP, Machines, machines, receiving, shortest
from contract.packets import datagram, send_gue, udp_datagram, who_has, wrap_and_send
from contract.places import Echo, Place, ask
from virtualserver.model.types import (
    DestinationContent,
    DestinationKey,
    ForwardingMethod,
    Service,
    ServiceContent,
    State,
    Tunnel,
    TunnelType,
)
from virtualserver.plan.tunnels import HOLDER

IPIP, GUE, GRE = Tunnel(), Tunnel(TunnelType.GUE, 6080), Tunnel(TunnelType.GRE)
TUNNELS = [IPIP, GUE, Tunnel(TunnelType.GUE, 6080, checksum=True), GRE, Tunnel(TunnelType.GRE, checksum=True)]
TIMESTAMPS = 12  # bytes of every segment that are not the client's


@pytest.fixture(scope="module")
def all_machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with machines(tmp_path_factory.mktemp("records")) as made:
        yield made


@pytest.fixture
def world(all_machines: Machines) -> Iterator[Machines]:
    """The machines, with nothing of the product's in them before and after."""
    all_machines.echo.received.clear()
    yield all_machines
    all_machines.clean()
    left = all_machines.node.place.run("ip link; ip fou show; iptables-legacy-save; ip6tables-legacy-save; ip addr")
    assert not [word for word in ("vs-", "gue", "VIRTUALSERVER", str(VIP[4])) if word in left], left


@pytest.mark.parametrize("tunnel", TUNNELS, ids=lambda one: f"{one.type.name}{'-checksum' * one.checksum}")
def test_a_tunnelled_client_is_answered_directly(world: Machines, tunnel: Tunnel) -> None:
    """Either IP version in either; the director forwards nothing, so what comes back has come from the node itself."""
    ways = world.ways([tunnel])
    assert world.node.bring(receiving(ways)) <= 3
    for inner, outer in product((4, 6), (4, 6)):
        world.forward(inner, DestinationContent(1, ForwardingMethod.TUNNEL, tunnel=tunnel), outer)
        seen, longest = ask(world.client, VIP[inner], PORT)
        assert seen == str(world.client.address(inner)), (inner, outer)
        assert longest == shortest(ways, inner) - TIMESTAMPS, (inner, outer)


def test_a_client_is_answered_directly_where_only_the_director_tells_of_the_address(world: Machines) -> None:
    world.node.bring(receiving([]))
    for version in (4, 6):
        world.forward(version, DestinationContent(1, ForwardingMethod.DIRECT_ROUTING), version)
        world.client.run("ip neigh flush all")
        seen, longest = ask(world.client, VIP[version], PORT)
        assert seen == str(world.client.address(version))
        assert longest == MTU - (40 if version == 4 else 60) - TIMESTAMPS
        neighbour = world.client.run(f"ip neigh show {VIP[version]}")
        assert world.director.place.hardware() in neighbour
    world.forward(4, DestinationContent(1, ForwardingMethod.DIRECT_ROUTING), 4)
    assert isinstance(VIP[4], IPv4Address)
    assert world.client.call(who_has, VIP[4]) == {world.director.place.hardware()}


def test_packets_of_others_than_directors_end_at_the_node(world: Machines) -> None:
    tunnels = (IPIP, GUE, GRE)
    world.node.bring(receiving(world.ways(tunnels)))
    cases = list(product(tunnels, (4, 6), (4, 6)))
    for number, (tunnel, inner, outer) in enumerate(cases):
        target = world.node.place.address(outer)
        for sender, word in ((world.stranger, "stranger"), (world.director.place, "director")):
            packet = datagram(world.client.address(inner), VIP[inner], PORT, f"{word} {number}".encode())
            sender.call(wrap_and_send, tunnel, packet, inner, target)
    await_(lambda: len(world.echo.received) >= len(cases))
    assert world.echo.received == {f"director {number}".encode() for number in range(len(cases))}


DEVICES = ("tunl0", "sit0", "gre0", "ip6tnl0", "ip6gre0")


@pytest.fixture
def catching_all(world: Machines) -> Iterator[Machines]:
    """The node's own tunnel devices are set up by another hand, as a pod network's ``tunl0`` is."""
    node = world.node.place
    world.node.bring(receiving(world.ways([IPIP, GRE])))  # brings the modules
    for number, name in enumerate(DEVICES):
        node.run(f"ip link set {name} up && ip addr add 10.97.0.{number}/32 dev {name}")
        node.sysctl(f"net/ipv4/conf/{name}/rp_filter", 2)
    yield world
    for name in DEVICES:
        node.run(f"ip addr flush dev {name}; ip link set {name} down")


@pytest.mark.parametrize("sealed", [True, False], ids=["as we set it up", "without the rule"])
def test_devices_that_take_packets_from_anybody_take_none_for_a_virtual_address(
    catching_all: Machines, sealed: bool
) -> None:
    world = catching_all
    wanted = receiving(world.ways([IPIP, GRE]))
    world.node.bring(wanted if sealed else replace(wanted, rules=replace(wanted.rules, sealed=frozenset())))
    # Of the two versions in IPv6 ``ip6tnl0`` takes IPv6 unless it is told otherwise (``ip6_tunnel.c``).
    cases = [one for one in product((IPIP, GRE), (4, 6), (4, 6)) if one != (IPIP, 4, 6)]
    for number, (tunnel, inner, outer) in enumerate(cases):
        target = world.node.place.address(outer)
        for sender, word in ((world.stranger, "stranger"), (world.director.place, "director")):
            packet = datagram(world.client.address(inner), VIP[inner], PORT, f"{word} {number}".encode())
            sender.call(wrap_and_send, tunnel, packet, inner, target)
    senders = ("director",) if sealed else ("director", "stranger")
    expected = {f"{word} {number}".encode() for word in senders for number in range(len(cases))}
    await_(lambda: len(world.echo.received) >= len(expected))
    assert world.echo.received == expected


def test_gue_is_no_way_around_a_packet_filter(world: Machines) -> None:
    """Whatever is in it goes on, UDP to a port of the node itself as well: only directors may send it."""
    world.node.bring(receiving(world.ways([GUE])))
    world.node.place.run(f"iptables-legacy -A INPUT -p udp --dport {PORT} -j DROP")
    for sender, word in ((world.stranger, b"stranger"), (world.director.place, b"director")):
        target = world.node.place.address(4)
        sender.call(send_gue, 6080, 17, udp_datagram(sender.address(4), target, PORT, word), target)
    await_(lambda: world.echo.received)
    world.node.place.run("iptables-legacy -F INPUT")
    assert world.echo.received == {b"director"}


def test_tunnels_of_others_between_the_same_machines_go_on(world: Machines) -> None:
    """One between the node and the stranger, and one like a pod network's, which takes packets from every address."""
    node, director, stranger = world.node.place, world.director.place, world.stranger
    for one, other, ours in ((node, stranger, "21"), (stranger, node, "66")):
        one.run(
            f"ip link add ov0 type ipip local {one.address(4)} remote {other.address(4)} && ip link set ov0 up && "
            f"ip addr add 10.99.0.{ours}/24 dev ov0"
        )
    for one, other, ours, theirs in ((node, director, "21", "11"), (director, node, "11", "21")):
        one.run(
            f"ip link set tunl0 up && ip addr add 10.98.0.{ours}/32 dev tunl0 && "
            f"ip route add 10.98.0.{theirs} via {other.address(4)} dev tunl0 onlink"
        )

    def overlays_work() -> None:
        assert ask(stranger, ip_address("10.99.0.21"), PORT)[0] == "10.99.0.66"
        assert ask(director, ip_address("10.98.0.21"), PORT)[0] == "10.98.0.11"

    try:
        overlays_work()
        world.node.bring(receiving(world.ways([IPIP, GUE])))
        overlays_work()
        world.forward(4, DestinationContent(1, ForwardingMethod.TUNNEL), 4)
        assert ask(world.client, VIP[4], PORT)[0] == str(world.client.address(4))
        world.node.bring(State())
        overlays_work()
    finally:
        for one in (node, stranger):
            one.run("ip link del ov0")
        for one in (node, director):
            one.run("ip addr flush dev tunl0; ip link set tunl0 down")


@pytest.mark.parametrize(
    "command",
    [
        "ip link del {tunnel}",
        "ip link set {tunnel} down",
        "ip link set {tunnel} type ipip local 198.18.0.99 remote 198.18.0.11",
        "ip link del " + HOLDER,
        "ip addr flush dev {tunnel}",
        "echo 1 >/proc/sys/net/ipv4/conf/{tunnel}/rp_filter",
        "ip fou del port 6080",
        "ip addr del 198.18.0.100/32 dev " + HOLDER,
    ],
)
def test_what_another_hand_breaks_is_repaired(world: Machines, command: str) -> None:
    wanted = receiving(way for way in world.ways([GUE]) if (way.inner, way.node.version) == (4, 4))
    (tunnel,) = wanted.own_links.keys() - {HOLDER}
    world.node.bring(wanted)
    world.forward(4, DestinationContent(1, ForwardingMethod.TUNNEL, tunnel=GUE), 4)
    world.node.place.run(command.format(tunnel=tunnel))
    with pytest.raises((TimeoutError, ConnectionError)):
        world.client.call(_connect)
    assert 1 <= world.node.bring(wanted) <= 4
    assert ask(world.client, VIP[4], PORT)[0] == str(world.client.address(4))


def _connect() -> None:
    with socket.create_connection((str(VIP[4]), PORT), timeout=1) as connection:
        connection.recv(1)


def test_a_pod_behind_the_nodes_own_table_sees_the_client_and_answers_it_directly(world: Machines) -> None:
    node = world.node.place
    with Place("pod") as pod:
        node.run("ip link add pod0 type veth peer name eth0 netns place-pod && ip link set pod0 up")
        node.run("ip addr add 10.1.0.1/24 dev pod0 && ip addr add fd01::1/64 dev pod0")
        pod.run("ip link set eth0 up && ip addr add 10.1.0.2/24 dev eth0 && ip addr add fd01::2/64 dev eth0")
        pod.run("ip route add default via 10.1.0.1 && ip route add default via fd01::1")
        address = {4: ip_address("10.1.0.2"), 6: ip_address("fd01::2")}
        services = {
            KEY[version]: Service(
                ServiceContent("rr", persistence_prefix=KEY[version].address.max_prefixlen),
                {DestinationKey(address[version], 8007): DestinationContent(1)},
            )
            for version in (4, 6)
        }
        ways = world.ways([GUE])
        with Echo(pod, 8007):
            world.node.bring(receiving(ways, services))
            for version in (4, 6):
                world.forward(version, DestinationContent(1, ForwardingMethod.TUNNEL, tunnel=GUE), 4)
                seen, longest = ask(world.client, VIP[version], PORT)
                assert seen == str(world.client.address(version))
                assert longest == shortest(ways, version) - TIMESTAMPS
            world.node.clean()


def await_(condition: Callable[[], object], seconds: float = 3.0) -> None:
    """Wait until something has happened, and half a second more for what must not happen."""
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.02)
    time.sleep(0.5)
