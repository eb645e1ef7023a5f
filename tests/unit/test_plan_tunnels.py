"""What a node of real servers needs: tunnel ends, ports, settings, and how long a segment may be."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from virtualserver.kernel.fake import FakeKernel
from virtualserver.kernel.refusals import check_link
from virtualserver.model.operations import AddDecapsulation, AddLink
from virtualserver.model.types import Admission, Decapsulation, LinkKind, Protocol, ServiceKey, Tunnel, TunnelType
from virtualserver.plan import settings
from virtualserver.plan.settings import link_of
from virtualserver.plan.tunnels import HOLDER, Way, reception, segment

NODE = {4: ip_address("198.18.1.21"), 6: ip_address("fd00:18:1::21")}
DIRECTORS = {4: (ip_address("198.18.1.11"), ip_address("198.18.1.12")), 6: (ip_address("fd00:18:1::11"),)}
GUE = Tunnel(TunnelType.GUE, 6080)


@pytest.mark.parametrize(
    ("tunnel", "inner", "outer", "kind"),
    [
        (Tunnel(), 4, 4, LinkKind.IPIP),
        (Tunnel(), 6, 4, LinkKind.SIT),
        (Tunnel(), 4, 6, LinkKind.IP6TNL),
        (Tunnel(), 6, 6, LinkKind.IP6TNL),
        (GUE, 4, 4, LinkKind.IPIP),
        (GUE, 6, 4, LinkKind.SIT),
        (GUE, 6, 6, LinkKind.IP6TNL),
        (Tunnel(TunnelType.GRE), 4, 4, LinkKind.GRE),
        (Tunnel(TunnelType.GRE, checksum=True), 6, 4, LinkKind.GRE),
        (Tunnel(TunnelType.GRE), 4, 6, LinkKind.IP6GRE),
    ],
)
def test_each_way_has_a_device_that_knows_both_ends(tunnel: Tunnel, inner: int, outer: int, kind: LinkKind) -> None:
    director = DIRECTORS[outer][0]
    found = reception([Way(tunnel, inner, director, NODE[outer])])
    ((name, link),) = found.links.items()
    assert (link.kind, link.local, link.remote) == (kind, NODE[outer], director)
    assert link.checksum == (kind is LinkKind.GRE and tunnel.checksum)
    check_link(name, link)
    gue = tunnel.type is TunnelType.GUE
    assert found.decapsulations == ({Decapsulation(6080, outer)} if gue else set())
    assert found.admissions == ({Admission(6080, director)} if gue else set())


def test_all_ways_together_are_taken_by_one_kernel() -> None:
    ways = [
        Way(tunnel, inner, director, NODE[outer])
        for tunnel in (Tunnel(), GUE, Tunnel(TunnelType.GUE, 7080, checksum=True), Tunnel(TunnelType.GRE))
        for inner in (4, 6)
        for outer in (4, 6)
        for director in DIRECTORS[outer]
    ]
    found = reception(ways)
    assert len(found.links) == 2 * 3 + 2  # for each IPv4 director ipip, sit, gre; for the IPv6 one ip6tnl, ip6gre
    links = [AddLink(name, link) for name, link in found.links.items()]
    outcomes = FakeKernel().apply([*links, *map(AddDecapsulation, found.decapsulations)])
    assert all(outcome.ok for outcome in outcomes)
    assert reception(reversed(ways)) == found


@pytest.mark.parametrize(
    ("tunnel", "inner", "outer", "bytes_"),
    [
        (Tunnel(), 4, 4, 1440),
        (Tunnel(), 6, 4, 1420),
        (Tunnel(), 4, 6, 1420),
        (GUE, 4, 4, 1428),
        (GUE, 6, 6, 1388),
        (Tunnel(TunnelType.GRE), 4, 4, 1436),
        (Tunnel(TunnelType.GRE, checksum=True), 4, 6, 1412),
    ],
)
def test_a_segment_leaves_room_for_every_header(tunnel: Tunnel, inner: int, outer: int, bytes_: int) -> None:
    assert segment(tunnel, inner, outer, 1500) == bytes_


def test_settings_of_a_real_servers_node_are_those_of_links_and_never_of_all_of_them() -> None:
    assert settings.real_server(["eth0.100"], [HOLDER]) == {
        "net.ipv4.conf.eth0/100.arp_ignore": "1",
        "net.ipv4.conf.eth0/100.arp_announce": "2",
        "net.ipv4.conf.vs-addresses.rp_filter": "2",
        "net.ipv6.conf.vs-addresses.addr_gen_mode": "1",
    }


@pytest.mark.parametrize(
    ("address", "name"), [("198.18.0.1", "net.ipv4.ip_forward"), ("fd00::1", "net.ipv6.conf.all.forwarding")]
)
def test_a_service_of_the_nodes_own_makes_it_forward_that_version(address: str, name: str) -> None:
    key = ServiceKey(Protocol.TCP, ip_address(address), 80)
    assert settings.real_server([], [], [key]) == {name: "1"}
    assert name in settings.names((), [], [])


def test_names_say_which_link_they_belong_to() -> None:
    wanted = settings.real_server(["eth0.100"], [HOLDER])
    assert {link_of(name) for name in wanted} == {"eth0.100", HOLDER}
    others = ("net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", "net.ipv6.conf.default.forwarding")
    assert {link_of(name) for name in others} == {None}
    assert set(settings.names((), ["eth0.100"], [HOLDER])) >= wanted.keys()
