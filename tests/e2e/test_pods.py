"""Pods as real servers by Direct Routing and Tunnel: nodes weigh what their pods do, and tell nobody of the address."""

from __future__ import annotations

import time

import pytest

from e2e.pods import PODS, endpoints, pods_serve
from e2e.world import VIP, VIP6, Cluster, Json, eventually

DIRECT: Json = {"mode": "DirectRouting"}
TUNNEL: Json = {"mode": "Tunnel"}
SEEN = {VIP: "198.18.0.2", VIP6: "fd00:18::2"}
"""The client, as pods see it."""
NODES = {VIP: ("198.18.0.31:80", "198.18.0.32:80"), VIP6: ("[fd00:18::31]:80", "[fd00:18::32]:80")}


@pytest.mark.parametrize("forwarding", [DIRECT, TUNNEL], ids=["DirectRouting", "Tunnel"])
def test_nodes_weigh_what_their_ready_pods_do(cluster: Cluster, forwarding: Json) -> None:
    way = "-g" if forwarding is DIRECT else "-i"

    def weigh(first: int, second: int) -> bool:
        wanted = {f"-r {node} {way} -w {first}" for node, _ in NODES.values() if first}
        wanted |= {f"-r {node} {way} -w {second}" for _, node in NODES.values() if second}
        # Direct Routing knows no port (plan/forwarding.py).
        rows = [line.replace(":0 -g", ":80 -g") for line in cluster.table().splitlines() if " -r " in line]
        return {row[row.index("-r ") :].partition(" --tun")[0] for row in rows} == wanted

    def serve(*ready: str) -> None:
        for version in (4, 6):
            cluster.apply(endpoints(*ready, version=version))

    pods_serve(cluster, forwarding=forwarding)
    eventually(lambda: weigh(2, 1), 5, "node-1 counts twice")
    serve("pod-1a", "pod-2a")
    eventually(lambda: weigh(1, 1), 5, "one pod less")
    serve("pod-1a")
    eventually(lambda: weigh(1, 0), 5, "a node without ready pods gets nothing")
    for address, client in SEEN.items():
        assert set(cluster.fetch(4, address)) == {f"pod-1a {client}"}


def test_a_pod_that_its_monitor_calls_down_gets_nothing_from_its_node_either(cluster: Cluster) -> None:
    pods_serve(cluster, forwarding=TUNNEL)
    cluster.lab.host("pod-1b").run("service-ctl stop web-alt")
    try:
        for version, address in ((4, VIP), (6, VIP6)):
            pod, node = PODS[version]["pod-1b"], NODES[address][0]
            eventually(lambda: pod not in cluster.table("node-1"), 5, "out at its node")  # noqa: B023 - called at once
            eventually(lambda: f"-r {node} -i -w 1" in cluster.table(), 5, "its node weighs less")  # noqa: B023 - the same
            assert {line.split()[0] for line in cluster.fetch(6, address)} == {"pod-1a", "pod-2a"}
    finally:
        cluster.lab.host("pod-1b").run("service-ctl start web-alt")


def test_nobody_but_the_director_answers_for_the_virtual_address_of_pods_from_first_to_last(cluster: Cluster) -> None:
    gone = endpoints(*PODS[4])
    gone["endpoints"] = [one for one in gone["endpoints"] if one["nodeName"] != "node-2"]
    with cluster.claims(VIP, 200) as arp, cluster.claims(VIP6, 200) as ndp:
        pods_serve(cluster, forwarding=DIRECT)
        for tunnel in ("IPIP", "GUE", "GRE"):
            cluster.patch("web", {"forwarding": {"mode": "Tunnel", "tunnel": {"type": tunnel}}})
            cluster.nodes_ready()
        cluster.patch("web", {"forwarding": {"mode": "DirectRouting", "tunnel": None}})
        cluster.nodes_ready()
        eventually(lambda: "-r 198.18.0.32:0 -g -w 1" in cluster.table(), 5, "directly, by an entry of its own")
        cluster.apply(gone)
        eventually(lambda: "-r 198.18.0.32:0 " not in cluster.table(), 5, "node-2 has no pod with IPv4")
        cluster.apply(endpoints(*PODS[4]))
        eventually(lambda: cluster.status().get("readyRealServers") == "6/6", 10, "and has it again")
        cluster.delete("web")
        eventually(lambda: "vs-addresses" not in cluster.director("ip link", "node-1"), 10, "taken down")
        time.sleep(1)
        claimed = [arp.finish(), ndp.finish()]
    assert [list(one) for one in claimed] == [[cluster.hardware(cluster.active())]] * 2
