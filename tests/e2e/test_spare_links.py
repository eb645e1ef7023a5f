"""A node's links without an address of their own: they are asked for its virtual addresses, too, and keep quiet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.world import VIP, Cluster, eventually, virtual_server

DIRECT = virtual_server(forwarding={"mode": "DirectRouting"}, realServers=[{"address": "198.18.0.31"}])
COVERED_WITHIN = 15.0
"""Seconds. A node without services of its own looks at its links every 5 s, on a machine that others use too."""


def add(cluster: Cluster, *names: str) -> None:
    """Join the clients' segment once more each, by a hardware address of its own and without an address, down."""
    for name in names:
        made = f"ip link add link eth0 name {name} type macvlan mode bridge && ip link set {name} addrgenmode none"
        cluster.director(made, "node-1")


def settings(cluster: Cluster, name: str) -> list[str]:
    """What a link does when somebody asks, and whom it names when it asks itself."""
    folder = f"/proc/sys/net/ipv4/conf/{name}"
    return cluster.director(f"cat {folder}/arp_ignore {folder}/arp_announce", "node-1").split()


@pytest.fixture
def tidied(cluster: Cluster) -> Iterator[Cluster]:
    yield cluster
    cluster.director("for name in spare0 spare1 late0; do ip link del $name; done", "node-1", check=False)


def test_spare_links_on_the_clients_segment_answer_for_no_virtual_address(tidied: Cluster) -> None:
    cluster = tidied
    add(cluster, "spare0", "spare1")
    cluster.director("ip link set spare0 up; echo 1 >/proc/sys/net/ipv4/conf/spare0/arp_announce", "node-1")
    with cluster.claims(VIP, 120) as seen:
        cluster.serve(DIRECT, "1/1")
        cluster.nodes_ready(count=1)
        port = settings(cluster, "pod-1a")
        cluster.director("ip link set spare1 up", "node-1")
        assert cluster.fetch(20) == ["node-1 198.18.0.2"] * 20
        cluster.delete("web")
        eventually(lambda: "vs-addresses" not in cluster.director("ip link", "node-1"), 20, "taken down")
        claimed = seen.finish()
    assert list(claimed) == [cluster.hardware(cluster.active())]
    eventually(lambda: settings(cluster, "spare0") == ["0", "1"], COVERED_WITHIN, "put back as they were")
    assert settings(cluster, "spare1") == ["0", "0"]
    assert port == ["0", "0"], "a port of a bridge answers nobody, so it is not touched"


def test_a_link_that_comes_later_is_quiet_from_the_next_look_on(tidied: Cluster) -> None:
    cluster = tidied
    cluster.serve(DIRECT, "1/1")
    cluster.nodes_ready(count=1)
    add(cluster, "late0")
    eventually(lambda: settings(cluster, "late0") == ["1", "2"], COVERED_WITHIN, "covered while it is still down")
    with cluster.claims(VIP, 60) as seen:
        cluster.director("ip link set late0 up", "node-1")
        assert cluster.fetch(20) == ["node-1 198.18.0.2"] * 20
        claimed = seen.finish()
    assert list(claimed) == [cluster.hardware(cluster.active())]
