"""A live virtual server forwards in another way: connections go on, new ones use the new way, nothing stale is left."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial

import pytest

from e2e.matrix import CELLS, COUNT, WELL
from e2e.pods import ECHO, PODS, PORTS, SERVICE, endpoints, pods_serve
from e2e.ways import (
    DIRECT,
    GRE,
    GUE,
    GUE_ELSEWHERE,
    NODES,
    NODES6,
    TRANSLATED,
    TUNNEL,
    changed,
    links,
    nodes_of,
    traces,
)
from e2e.world import VIP, VIP6, Cluster, Json, eventually, virtual_server

CONNECTIONS_END = 60.0
"""Seconds. An old half goes 15 s after the last connection of it; the processor is shared."""
PODS_ECHO: list[Json] = [{"service": {"name": "app", "port": ECHO}}]
Change = tuple[Json, list[Json]]
"""How a virtual server forwards at first, and to whom."""
TO_NAT: list[Change] = [(DIRECT, NODES), (GUE, NODES), (TUNNEL, PODS_ECHO), (DIRECT, PODS_ECHO)]
HELD = [("TCP", VIP), ("TCP", VIP6), ("SCTP", VIP), ("SCTP", VIP6)]


def test_the_mode_of_a_live_virtual_server_is_changed_without_losing_a_connection(cluster: Cluster) -> None:
    spec: Json = {"addresses": [VIP, VIP6], "ports": [{"port": 7}], "realServers": NODES + NODES6}
    cluster.serve(virtual_server(forwarding=TRANSLATED, **spec), "4/4")
    with cluster.load("hold", 7, 10) as four, cluster.load("hold", 7, 10, VIP6) as six:
        for forwarding, way in ((DIRECT, "-g"), (TUNNEL, "-i"), (TRANSLATED, "-m"), (TUNNEL, "-i"), (DIRECT, "-g")):
            cluster.patch("web", changed(forwarding))
            # Direct Routing knows no port (plan/forwarding.py).
            port = 0 if way == "-g" else 7
            wanted = [f"-r {one['address']}:{port} {way} -w 1" for one in NODES]
            wanted += [f"-r [{one['address']}]:{port} {way} -w 1" for one in NODES6]
            eventually(partial(_holds, cluster, wanted), 5, f"new connections by {forwarding['mode']}")
            cluster.nodes_ready(count=nodes_of(forwarding))
            said = cluster.probe(6, [("TCP", VIP, 7), ("TCP", VIP6, 7)])
            assert said == [{"answers": 6, "problem": ""}] * 2, forwarding
            time.sleep(1)
        seen = [four.finish()["broken"], six.finish()["broken"]]
    assert seen == [[], []]
    eventually(lambda: links(cluster) == ["vs-addresses"], CONNECTIONS_END, "no tunnel is left")


@pytest.mark.parametrize(
    "forwardings",
    [[TRANSLATED, DIRECT, TUNNEL, TRANSLATED], [TUNNEL, GRE, GUE, GUE_ELSEWHERE, TUNNEL]],
    ids=["modes", "types of tunnel"],
)
def test_connections_to_pods_of_every_protocol_and_family_outlive_changes_that_leave_no_trace(
    cluster: Cluster, forwardings: list[Json]
) -> None:
    pods_serve(cluster, ports=PORTS, forwarding=forwardings[0])
    at_director, at_node = cluster.table(), traces(cluster)
    with ExitStack() as stack:
        clients = [stack.enter_context(cluster.load("hold", ECHO, 5, at, kind)) for kind, at in HELD]
        for forwarding in forwardings[1:]:
            cluster.patch("web", changed(forwarding))
            eventually(partial(_only_new, cluster, forwarding), 10, f"new connections by {forwarding}")
            cluster.nodes_ready(count=nodes_of(forwarding))
            targets = [(protocol, VIP if version == 4 else VIP6, ECHO) for protocol, version in CELLS]
            assert cluster.probe(COUNT, targets) == [WELL] * len(CELLS), forwarding
        time.sleep(3)
        seen = [one.finish() for one in clients]
    assert [one["broken"] for one in seen] == [[]] * len(HELD)
    eventually(lambda: traces(cluster) == at_node, CONNECTIONS_END, f"the node is as it was: {at_node}")
    eventually(lambda: cluster.table() == at_director, CONNECTIONS_END, f"so is the director: {at_director}")


def _only_new(cluster: Cluster, forwarding: Json) -> bool:
    """New connections go this way only; what serves older ones has weight 0."""
    tunnel = {"GRE": "gre", "GUE": "gue"}.get(forwarding.get("tunnel", {}).get("type"), "ipip")
    way = {"NAT": "-m", "Tunnel": "-i", "DirectRouting": "-g"}[forwarding["mode"]]
    rows = [line for line in cluster.table().splitlines() if " -r " in line and " -w 0" not in line]
    port = f"--tun-port {forwarding['tunnel'].get('port', 6080)} " if tunnel == "gue" else ""
    return all(f" {way} -w" in row and (way != "-i" or f"{tunnel} {port}".strip() in row) for row in rows)


@pytest.mark.parametrize(
    ("changes", "after"),
    [(TO_NAT, TRANSLATED), ([(TUNNEL, NODES), (TUNNEL, PODS_ECHO)], DIRECT), ([(TRANSLATED, PODS_ECHO)], TUNNEL)],
    ids=["Direct, GUE, pods Tunnel, pods Direct to NAT", "Tunnel, pods Tunnel to Direct", "pods NAT to Tunnel"],
)
def test_connections_outlive_the_mode_in_which_they_began_and_then_nothing_of_it_is_left(
    cluster: Cluster, changes: list[Change], after: Json
) -> None:
    cluster.apply(SERVICE)
    cluster.apply(endpoints(*PODS[4]))
    before_all = traces(cluster)
    named = {f"vs-{number}": f"198.18.0.{number}" for number in range(100, 100 + len(changes))}
    for (name, address), (before, servers) in zip(named.items(), changes, strict=True):
        count = len(NODES if servers is NODES else PODS[4])
        spec: Json = {"addresses": [address], "ports": [{"port": 7}], "forwarding": before, "realServers": servers}
        cluster.serve(virtual_server(name, **spec), f"{count}/{count}")
        cluster.nodes_ready(name, nodes_of(before))
    with ExitStack() as stack:
        clients = [stack.enter_context(cluster.load("hold", 7, 10, address)) for address in named.values()]
        for name in named:
            cluster.patch(name, changed(after))
        for name, address in named.items():
            eventually(partial(_forwards, cluster, address, after), 10, f"new connections to {address} go the new way")
            cluster.nodes_ready(name, nodes_of(after))
        said = cluster.probe(4, [("TCP", address, 7) for address in named.values()])
        assert said == [{"answers": 4, "problem": ""}] * len(changes)
        time.sleep(35)  # longer than a client's patience, and than what stays without a connection
        assert [one.finish()["broken"] for one in clients] == [[]] * len(changes)
    for address, (before, _) in zip(named.values(), changes, strict=True):
        old = partial(_forwards, cluster, address, before)
        eventually(lambda: not old(), CONNECTIONS_END, f"no old entry of {address}")  # noqa: B023 - called at once
    if after["mode"] == "NAT":
        eventually(lambda: traces(cluster) == before_all, CONNECTIONS_END, f"as before: {before_all}")
    elif after["mode"] == "DirectRouting":
        eventually(lambda: links(cluster) == ["vs-addresses"], CONNECTIONS_END, "no tunnel is left")


def _forwards(cluster: Cluster, address: str, forwarding: Json) -> bool:
    """There are entries of this address for that way."""
    way = {"NAT": "-m", "Tunnel": "-i", "DirectRouting": "-g"}[forwarding["mode"]]
    rows = [line for line in cluster.table().splitlines() if f" {address}:" in line]
    return any(f" {way} -w" in line for line in rows)


def test_a_udp_flow_goes_on_when_the_mode_is_changed_and_leaves_the_old_one(cluster: Cluster) -> None:
    datagrams = [{"port": 7, "protocol": "UDP"}]
    cluster.serve(virtual_server(ports=datagrams, monitors=[], forwarding=TUNNEL, realServers=NODES), "2/2")
    cluster.nodes_ready()
    with cluster.load("flow", 7) as clients:
        for forwarding, way in ((TRANSLATED, "-m"), (TUNNEL, "-i"), (DIRECT, "-g")):
            cluster.patch("web", changed(forwarding))
            eventually(partial(_only, cluster, way), 10, f"{forwarding['mode']} and nothing else")
            cluster.nodes_ready(count=nodes_of(forwarding))
            time.sleep(20)
        seen = clients.finish()
    assert seen["longest"] < 3, seen


def _only(cluster: Cluster, way: str) -> bool:
    rows = [line for line in cluster.table().splitlines() if line.startswith("-a")]
    return len(rows) == len(NODES) and all(f" {way} -w 1" in row for row in rows)


def _holds(cluster: Cluster, lines: list[str]) -> bool:
    table = cluster.table()
    return all(line in table for line in lines)


def test_what_is_deleted_and_made_again_as_direct_routing_serves_while_clients_of_the_tunnel_go_on(
    cluster: Cluster,
) -> None:
    """Their packets fill the route of the entry that the kernel keeps for them; new ones must not be given that."""
    spec: Json = {"ports": [{"port": 7}], "realServers": NODES}
    cluster.serve(virtual_server(forwarding=TUNNEL, **spec), "2/2")
    cluster.nodes_ready()
    with cluster.load("hold", 7, 10):
        cluster.delete("web")
        eventually(lambda: VIP not in cluster.table(), 10, "it is gone")
        cluster.serve(virtual_server(forwarding=DIRECT, **spec), "2/2")
        cluster.nodes_ready()
        time.sleep(3)
        assert cluster.probe(20, [("TCP", VIP, 7)]) == [{"answers": 20, "problem": ""}]
