"""A path that is smaller than its links: nothing stalls, and what fits is the path less what the tunnel adds.

client ── segment (1500) ── director, near ── 1400 ── mid ── 1500 ── far, a machine outside the cluster
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from e2e.test_machines import PROGRAM, SECONDS
from e2e.test_sizes import SIZES, WAYS
from e2e.world import Cluster, eventually, virtual_server
from lab.guest import HERE
from lab.hosts import Host
from lab.lab import Lab

NARROW = 1400
FAR = {4: "198.18.1.130", 6: "fd00:18:1:0:3::2"}
CASES = [(way, version, version) for way in ("IPIP", "GUE", "GRE") for version in (4, 6)] + [
    ("GUE", 4, 6),
    ("GUE", 6, 4),
]
"""A way, and the versions of what it carries and of what it is carried by; all of them served at the same time."""
STATE = ["--state-dir", "/run/machine-far"]
PORTS = [{"port": 7, "protocol": protocol, "name": protocol.lower()} for protocol in ("TCP", "UDP")]
DIRECTORS = {4: ("198.18.0.11", "198.18.0.12"), 6: ("fd00:18::11", "fd00:18::12")}
BUILD = f"""
set -e
for host in near mid far; do
  ip netns add $host
  ip -n $host link set lo up
  ip netns exec $host sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \\
    net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.default.accept_dad=0
done
ip link add c-near type veth peer name eth0 netns near
ip link set c-near master br-c up
ip -n near link add out mtu {NARROW} type veth peer name in mtu {NARROW} netns mid
ip -n mid link add out type veth peer name eth0 netns far
for link in near:eth0 near:out mid:in mid:out far:eth0; do ip -n ${{link%:*}} link set ${{link#*:}} up; done
ip -n near address add 198.18.0.41/24 dev eth0
ip -n near address add fd00:18::41/64 dev eth0
for cable in near:out:1 mid:in:2; do
  IFS=: read -r host link number <<<"$cable"
  ip -n $host address add 198.18.2.$number/24 dev $link
  ip -n $host address add fd00:18:2::$number/64 dev $link
done
ip -n mid address add 198.18.1.129/28 dev out
ip -n mid address add fd00:18:1:0:3::1/80 dev out
ip -n far address add {FAR[4]}/28 dev eth0
ip -n far address add {FAR[6]}/80 dev eth0
ip -n far route add default via 198.18.1.129
ip -n far route add default via fd00:18:1:0:3::1
ip -n mid route add default via 198.18.2.1
ip -n mid route add default via fd00:18:2::1
ip -n near route add 198.18.1.128/28 via 198.18.2.2
ip -n near route add fd00:18:1:0:3::/80 via fd00:18:2::2
for director in director-1 director-2; do
  ip -n $director route add 198.18.2.0/24 via 198.18.0.41
  ip -n $director route add fd00:18:2::/64 via fd00:18::41
  ip -n $director route add 198.18.1.128/28 via 198.18.0.41
  ip -n $director route add fd00:18:1:0:3::/80 via fd00:18::41
done
"""
TAKE_DOWN = """
for director in director-1 director-2; do
  for network in 198.18.2.0/24 fd00:18:2::/64 198.18.1.128/28 fd00:18:1:0:3::/80; do
    ip -n $director route del $network
  done
done
ip link del c-near
for host in far mid near; do ip netns pids $host | xargs -r kill; ip netns del $host; done
"""


@pytest.fixture(scope="module")
def far(lab: Lab) -> Iterator[Host]:
    """The machine at the end of the path, which serves what all real servers of the lab serve."""
    lab.guest.run(["bash", "-c", BUILD])
    try:
        host = lab.guest_of("client").host("far")
        services = [sys.executable, "-S", "-E", str(HERE / "services.py"), "far", "/run/lab/far.sock"]
        host.spawn(services, "services-far")
        yield host
        host.run([*PROGRAM, "remove", *STATE], SECONDS)
    finally:
        lab.guest.run(["bash", "-c", TAKE_DOWN], check=False)


def address(case: tuple[str, int, int]) -> str:
    return f"{'198.18.0.' if case[1] == 4 else 'fd00:18::'}{120 + CASES.index(case)}"


def prepare(far: Host, address: str, way: str, outer: int, *options: str) -> None:
    """What the owner of the machine at the end types there."""
    kind = WAYS[way][0].get("tunnel", {}).get("type", "IPIP")
    directors = [word for one in DIRECTORS[outer] for word in ("--director", one)]
    words = ["--address", address, "--mode", "Tunnel", "--tunnel", kind, *directors, *options]
    far.run([*PROGRAM, "apply", *STATE, *words], SECONDS)


@pytest.mark.parametrize("outer", [4, 6], ids=["IPv4", "IPv6"])
def test_where_no_icmp_comes_tcp_needs_to_be_told_of_the_path(
    cluster: Cluster, lab: Lab, far: Host, outer: int
) -> None:
    """Many firewalls drop it; with ``--mtu`` the machine announces segments that fit."""
    where = "198.18.0.140"
    prepare(far, where, "GUE", outer, "--mtu", str(NARROW))
    forwarding, servers = WAYS["GUE"][0], [{"address": FAR[outer]}]
    cluster.serve(virtual_server(addresses=[where], ports=PORTS, forwarding=forwarding, realServers=servers), "1/1")
    silent = "{}tables-legacy -{} OUTPUT -p {} -o eth0 -j DROP"
    filters = [("ip", "icmp"), ("ip6", "icmpv6")]
    try:
        for program, protocol in filters:
            lab.guest.run(f"ip netns exec near {silent.format(program, 'A', protocol)}")
        for _ in range(2):
            seconds = cluster.client(f"{sys.executable} {SIZES} {where} 7 tcp")
            assert float(seconds) < 5
    finally:
        for program, protocol in filters:
            lab.guest.run(f"ip netns exec near {silent.format(program, 'D', protocol)}")


def test_nodes_announce_segments_that_fit_their_routes_to_the_directors(cluster: Cluster) -> None:
    cluster.serve(virtual_server(forwarding={"mode": "Tunnel"}, realServers=[{"address": "198.18.0.31"}]), "1/1")
    cluster.nodes_ready(count=1)
    rules = "iptables-legacy-save -t mangle | grep TCPMSS"
    node = cluster.lab.host("node-1")
    assert "--set-mss 1420" in node.run(rules).out  # wrapped in either family
    node.run(f"ip route add 198.18.0.12/32 dev eth0 mtu {NARROW}")
    try:
        eventually(
            lambda: f"--set-mss {NARROW - 40 - 20 - 20}" in node.run(rules).out, 30, f"what fits into {NARROW} bytes"
        )
    finally:
        node.run("ip route del 198.18.0.12/32 dev eth0")
    eventually(lambda: "--set-mss 1420" in node.run(rules).out, 30, "as before")


@pytest.fixture(scope="module")
def served(lab: Lab, far: Host) -> Iterator[Cluster]:
    """All cases, and the directors have told what is wrong: by looking, they also learn what fits."""
    cluster = Cluster(lab)
    try:
        for number, (way, inner, outer) in enumerate(CASES):
            where = address((way, inner, outer))
            prepare(far, where, way, outer)
            servers = [{"address": FAR[outer]}]
            cluster.apply(
                virtual_server(
                    f"path-{number}", addresses=[where], ports=PORTS, forwarding=WAYS[way][0], realServers=servers
                )
            )
        for number in range(len(CASES)):
            cluster.available(f"path-{number}", "1/1", 30)
            eventually(lambda: told(cluster, f"path-{number}"), 60, "the directors have seen it")  # noqa: B023 - at once
        yield cluster
    finally:
        cluster.tidy()


def told(cluster: Cluster, name: str) -> bool:
    """Both directors say that the way is too small."""
    entries = cluster.status(name).get("directors") or []
    reasons = [{one["reason"] for one in entry.get("findings") or []} for entry in entries]
    return len(reasons) == 2 and all("MtuTooSmall" in one for one in reasons)


@pytest.mark.parametrize("case", CASES, ids=[f"{way}, {i} over {o}" for way, i, o in CASES])
def test_the_largest_packet_is_the_narrowest_part_of_the_path_less_what_the_tunnel_adds(
    served: Cluster, case: tuple[str, int, int]
) -> None:
    way, _, outer = case
    measured = json.loads(served.client(f"{sys.executable} {SIZES} {address(case)} 7 3"))
    print(case, measured)
    assert measured["tcp"] < 5
    assert measured["udp_df"] == NARROW - (20 if outer == 4 else 40) - WAYS[way][1]
    assert measured["udp"] == [1000, 1472, 1473, 4000, 16000]
