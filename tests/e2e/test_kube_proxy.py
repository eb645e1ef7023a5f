"""Directors and nodes of a cluster have kube-proxy's rules, too: what is rewritten must not look like nobody's."""

from __future__ import annotations

import pytest

from e2e.pods import pods_serve
from e2e.world import VIP, VIP6, Cluster, Json, eventually, virtual_server
from failover import nemesis

MACHINES = ("198.18.1.21", "198.18.1.22", "fd00:18:1::21", "fd00:18:1::22")


def test_answers_of_nat_are_not_dropped_for_belonging_to_nothing(cluster: Cluster) -> None:
    servers = [{"address": one} for one in MACHINES]
    with nemesis.beside_kube_proxy(cluster.lab, cluster.active()):
        cluster.serve(virtual_server(addresses=[VIP, VIP6], scheduler={"name": "rr"}, realServers=servers))
        active = cluster.active()
        for address in (VIP, VIP6):
            assert len(set(cluster.fetch(4, address))) == 2
        assert "conntrack = 1" in cluster.director("sysctl net.ipv4.vs.conntrack", active)
        with nemesis.stopped(cluster.lab, active, "agent"):
            cluster.director("sysctl -qw net.ipv4.vs.conntrack=0", active)
            assert not answered(cluster), "the rule drops what is not tracked, else this test shows nothing"
        eventually(lambda: answered(cluster), 60, "the agent has put the setting right")
    cluster.delete("web")
    cluster.serve(virtual_server(addresses=[VIP], scheduler={"name": "rr"}, realServers=servers[:2]))
    assert len(set(cluster.fetch(4, VIP))) == 2, "and where nothing is tracked it is as before"


def answered(cluster: Cluster) -> bool:
    return cluster.client(f"curl -s -o /dev/null --max-time 2 http://{VIP}/ && echo yes", check=False) == "yes"


@pytest.mark.parametrize("mode", ["Tunnel", "DirectRouting"])
def test_answers_of_pods_are_not_dropped_by_their_node(cluster: Cluster, mode: str) -> None:
    forwarding: Json = {"mode": mode}
    with nemesis.beside_kube_proxy(cluster.lab, "node-1", "node-2", cluster.active()):
        pods_serve(cluster, forwarding=forwarding)
        for address in (VIP, VIP6):
            assert {line.split()[0] for line in cluster.fetch(6, address)} == {"pod-1a", "pod-1b", "pod-2a"}
