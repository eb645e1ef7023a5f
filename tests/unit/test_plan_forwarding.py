"""Whom a director sends packets to, and what a real server's node holds for them, by forwarding mode."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import Any

from unit.builders import Json, director_group, endpoint, endpoint_slice, node, service, store, virtual_server
from virtualserver.api.enums import RealServerState
from virtualserver.api.reasons import Reason
from virtualserver.model.types import (
    Clamp,
    Decapsulation,
    DestinationContent,
    ForwardingMethod,
    LinkKind,
    Tunnel,
    TunnelType,
)
from virtualserver.plan import desired
from virtualserver.plan.desired import Plan
from virtualserver.plan.eligibility import Standing
from virtualserver.plan.health import Health
from virtualserver.plan.tunnels import HOLDER
from virtualserver.plan.verdicts import judge

UP = Health(RealServerState.UP, Reason.MONITOR_SUCCEEDED)
DOWN = Health(RealServerState.DOWN, Reason.CONNECTION_REFUSED)
NODES = [
    node("director-1", "198.18.0.11", "fd00:18::11"),
    node("node-1", "198.18.0.31", "fd00:18::31"),
    node("node-2", "198.18.0.32", "fd00:18::32"),
]
PODS = endpoint_slice(
    "web-1",
    "web",
    {**endpoint("10.244.31.11"), "nodeName": "node-1"},
    {**endpoint("10.244.31.12"), "nodeName": "node-1"},
    {**endpoint("10.244.32.11"), "nodeName": "node-2"},
)
OVER_PODS = [{"service": {"name": "web"}}]


def planned(name: str, spec: Json, down: str = "", slices: Json = PODS, **group: Any) -> Plan:
    world = store(
        virtual_servers=[virtual_server(**spec)],
        groups=[director_group(**group)],
        nodes=NODES,
        services=[service("web", 80)],
        slices=[slices],
    ).world()
    active = Standing(frozenset({"default"}) if name == "director-1" else frozenset())
    circumstances = desired.Circumstances(standing=active)
    return desired.plan(
        world, judge(world), lambda _, one: DOWN if str(one.address) == down else UP, name, circumstances
    )


def table(plan: Plan) -> dict[str, dict[str, DestinationContent]]:
    return {
        str(key): {str(one): content for one, content in found.destinations.items()}
        for key, found in plan.state.services.items()
    }


def tunnelled(weight: int, kind: TunnelType = TunnelType.IPIP, port: int = 0) -> DestinationContent:
    return DestinationContent(weight, ForwardingMethod.TUNNEL, tunnel=Tunnel(kind, port))


def test_machines_are_sent_to_at_the_virtual_port_and_direct_routing_knows_none() -> None:
    plan = planned("director-1", {"forwarding": {"mode": "DirectRouting"}})
    direct = DestinationContent(1, ForwardingMethod.DIRECT_ROUTING)
    assert table(plan) == {"TCP 198.18.0.100:80": {"198.18.1.21:0": direct, "198.18.1.22:0": direct}}
    plan = planned("director-1", {"forwarding": {"mode": "Tunnel"}})
    assert table(plan) == {"TCP 198.18.0.100:80": {"198.18.1.21:80": tunnelled(1), "198.18.1.22:80": tunnelled(1)}}


def test_pods_are_reached_through_their_node_whose_weight_is_theirs_together() -> None:
    spec = {"forwarding": {"mode": "Tunnel"}, "realServers": OVER_PODS}
    assert table(planned("director-1", spec)) == {
        "TCP 198.18.0.100:80": {"198.18.0.31:80": tunnelled(2), "198.18.0.32:80": tunnelled(1)}
    }


def test_a_node_all_of_whose_pods_are_down_gets_nothing() -> None:
    spec = {"forwarding": {"mode": "Tunnel"}, "realServers": OVER_PODS}
    plan = planned("director-1", spec, down="10.244.32.11")
    assert table(plan) == {"TCP 198.18.0.100:80": {"198.18.0.31:80": tunnelled(2)}}


def test_a_node_hands_packets_on_to_its_own_pods_only() -> None:
    spec = {"forwarding": {"mode": "Tunnel"}, "realServers": OVER_PODS}
    plan = planned("node-1", spec, down="10.244.31.12")
    assert table(plan) == {"TCP 198.18.0.100:80": {"10.244.31.11:8080": DestinationContent(1)}}
    assert f"198.18.0.100/32 on {HOLDER}" in {str(one) for one in plan.state.addresses}
    assert not plan.active
    assert not plan.real_servers


def test_a_node_takes_tunnelled_packets_from_the_directors_only() -> None:
    spec = {"forwarding": {"mode": "Tunnel"}, "realServers": OVER_PODS}
    links = planned("node-1", spec).state.own_links
    assert links.pop(HOLDER).kind is LinkKind.DUMMY  # type: ignore[attr-defined]  # of the kind that is asserted
    assert {(one.kind, str(one.local), str(one.remote)) for one in links.values()} == {
        (LinkKind.IPIP, "198.18.0.31", "198.18.0.11"),
        (LinkKind.IP6TNL, "fd00:18::31", "fd00:18::11"),
    }
    assert all(len(name) <= 15 for name in links)


def test_the_directors_addresses_may_be_named() -> None:
    spec = {"forwarding": {"mode": "Tunnel"}, "realServers": OVER_PODS}
    links = planned("node-1", spec, tunnelSources=["198.18.0.12"]).state.own_links
    assert {str(one.remote) for one in links.values() if one.remote} == {"198.18.0.12"}


def test_gue_is_taken_out_of_udp() -> None:
    spec = {"forwarding": {"mode": "Tunnel", "tunnel": {"type": "GUE", "port": 6081}}, "realServers": OVER_PODS}
    assert planned("node-1", spec).state.decapsulations == {Decapsulation(6081, 4), Decapsulation(6081, 6)}
    wanted = tunnelled(1, TunnelType.GUE, 6081)
    assert table(planned("director-1", spec))["TCP 198.18.0.100:80"]["198.18.0.32:80"] == wanted


def test_where_a_tunnel_ends_a_virtual_address_takes_nothing_from_devices_that_take_packets_from_anybody() -> None:
    spec: Json = {"forwarding": {"mode": "Tunnel"}, "realServers": OVER_PODS}
    assert planned("node-1", spec).state.rules.sealed == {IPv4Address("198.18.0.100")}
    assert planned("director-1", spec).state.rules.sealed == frozenset(), "a director's clients may come by any way"
    direct = spec | {"forwarding": {"mode": "DirectRouting"}}
    assert planned("node-1", direct).state.rules.sealed == frozenset(), "there is no tunnel to be the only one"


def test_a_node_that_is_a_real_server_itself_holds_the_address_and_has_no_service() -> None:
    spec = {"forwarding": {"mode": "DirectRouting"}, "realServers": [{"address": "198.18.0.32"}]}
    plan = planned("node-2", spec)
    assert table(plan) == {}
    assert [one.link for one in plan.state.addresses] == [HOLDER]
    assert list(plan.state.own_links) == [HOLDER]


def test_nat_concerns_the_director_alone() -> None:
    assert planned("node-1", {"realServers": OVER_PODS}).state.addresses == frozenset()


def test_an_ipv6_address_is_served_over_ipv4_only_where_no_real_server_has_ipv6() -> None:
    spec = {"addresses": ["fd00:18::100"], "forwarding": {"mode": "Tunnel"}}
    assert list(table(planned("director-1", spec))["TCP [fd00:18::100]:80"]) == ["198.18.1.21:80", "198.18.1.22:80"]
    both = [{"address": "198.18.1.21"}, {"address": "fd00:18:1::21"}]
    assert list(table(planned("director-1", spec | {"realServers": both}))["TCP [fd00:18::100]:80"]) == [
        "[fd00:18:1::21]:80"
    ]


def test_a_director_with_pods_serves_them_itself() -> None:
    here = endpoint_slice(
        "web-1",
        "web",
        {**endpoint("10.244.11.11"), "nodeName": "director-1"},
        {**endpoint("10.244.31.11"), "nodeName": "node-1"},
    )
    plan = planned("director-1", {"forwarding": {"mode": "Tunnel"}, "realServers": OVER_PODS}, slices=here)
    assert table(plan) == {
        "TCP 198.18.0.100:80": {"10.244.11.11:8080": DestinationContent(1), "198.18.0.31:80": tunnelled(1)}
    }
    assert {one.link for one in plan.state.addresses} == {"eth0", "lo"}


def test_a_pod_whose_node_is_not_known_gets_nothing_and_the_status_says_why() -> None:
    lost = endpoint_slice("web-1", "web", {**endpoint("10.244.99.11"), "nodeName": "node-9"})
    plan = planned("director-1", {"forwarding": {"mode": "Tunnel"}, "realServers": OVER_PODS}, slices=lost)
    assert table(plan) == {"TCP 198.18.0.100:80": {}}
    (only,) = next(iter(plan.real_servers.values()))
    assert only.health.reason is Reason.ENDPOINT_WITHOUT_NODE


def test_clients_are_told_of_segments_that_fit_through_the_tunnel_and_the_way() -> None:
    spec: Json = {"forwarding": {"mode": "Tunnel"}, "realServers": OVER_PODS}
    world = store(
        virtual_servers=[virtual_server(**spec)],
        groups=[director_group()],
        nodes=[NODES[0], node("node-1", "198.18.0.31")],
        services=[service("web", 80)],
        slices=[PODS],
    ).world()
    verdicts = judge(world)
    link, way = ip_address("198.18.0.31"), ip_address("198.18.0.11")
    for mtus, segment in (({link: 1500}, 1440), ({link: 9000}, 8940), ({link: 1500, way: 1400}, 1340), ({}, 1440)):
        circumstances = desired.Circumstances(mtus=mtus)
        plan = desired.plan(world, verdicts, lambda *_: UP, "node-1", circumstances)
        assert plan.state.rules.clamped == {Clamp(IPv4Address("198.18.0.100"), segment)}
