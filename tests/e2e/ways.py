"""How packets may reach the lab's nodes, and what that leaves there."""

from __future__ import annotations

from e2e.world import Cluster, Json

DIRECT: Json = {"mode": "DirectRouting"}
TUNNEL: Json = {"mode": "Tunnel"}
GRE: Json = {"mode": "Tunnel", "tunnel": {"type": "GRE"}}
GUE: Json = {"mode": "Tunnel", "tunnel": {"type": "GUE"}}
GUE_ELSEWHERE: Json = {"mode": "Tunnel", "tunnel": {"type": "GUE", "port": 7080}}
TRANSLATED: Json = {"mode": "NAT", "nat": {"sourceTranslation": True}}
NODES = [{"address": "198.18.0.31"}, {"address": "198.18.0.32"}]
NODES6 = [{"address": "fd00:18::31"}, {"address": "fd00:18::32"}]


def changed(forwarding: Json) -> Json:
    """The patch of a spec that leaves nothing of another way of forwarding."""
    return {"forwarding": {"nat": None, "tunnel": None} | forwarding}


def nodes_of(forwarding: Json) -> int:
    """How many nodes need something for it."""
    return 0 if forwarding["mode"] == "NAT" else 2


def links(cluster: Cluster, node: str = "node-1") -> list[str]:
    """Our own links on a node."""
    lines = cluster.director("ip -o link show group 30323", node).splitlines()
    return [line.split(":")[1].strip() for line in lines]


def traces(cluster: Cluster, node: str = "node-1") -> list[str]:
    """All that virtual servers leave on a node: links, addresses, GUE ports, filter rules, settings, virtual services.

    Without what differs from one time to the next: numbers of links, counts of packets, random hardware addresses.
    """
    shown = cluster.director(
        "ip -o link show group 30323; ip -o address show group 30323; ip fou show; ipvsadm -Sn;"
        "for one in iptables ip6tables; do $one-legacy-save -t mangle | grep VIRTUALSERVER; done;"
        "sysctl net.ipv4.conf.eth0.arp_ignore net.ipv4.conf.eth0.arp_announce net.ipv4.conf.eth0.rp_filter",
        node,
        check=False,
    )
    lines = [line.partition(": ")[2] if line[:1].isdigit() else line for line in shown.splitlines()]
    return sorted(line.partition(" [")[0].partition(" permaddr ")[0] for line in lines)
