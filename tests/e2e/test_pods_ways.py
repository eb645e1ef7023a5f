"""Pods as real servers: every way to their nodes, for every protocol and family, with real traffic.

The nodes have addresses of both families in the cluster, or of one: then a tunnel carries the other one, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from e2e.matrix import CELLS, WELL, Cells, Matrix, exchanges
from e2e.pods import DUAL_STACK, ECHO, PODS, PODS_SERVE, PORTS
from e2e.world import Cluster, Json, eventually, virtual_server
from lab.lab import Lab

NODES = {4: ("198.18.0.31", "198.18.0.32"), 6: ("fd00:18::31", "fd00:18::32")}
CLIENT = {4: "198.18.0.2", 6: "fd00:18::2"}


@dataclass(frozen=True)
class Way:
    """How the director sends, how its table shows that, and the families in which nodes have addresses."""

    forwarding: Json
    shown: str
    nodes: tuple[int, ...] = (4, 6)


IPIP = Way({"mode": "Tunnel"}, "-i -w {} --tun-type ipip")
GUE = Way({"mode": "Tunnel", "tunnel": {"type": "GUE"}}, "-i -w {} --tun-type gue --tun-port 6080 --tun-nocsum")
ELSEWHERE = Way(
    {"mode": "Tunnel", "tunnel": {"type": "GUE", "port": 7080}}, "-i -w {} --tun-type gue --tun-port 7080 --tun-nocsum"
)
GRE = Way({"mode": "Tunnel", "tunnel": {"type": "GRE"}}, "-i -w {} --tun-type gre --tun-nocsum")
TUNNELS = {"IPIP": IPIP, "GUE": ELSEWHERE, "GRE": GRE}
WAYS = {
    "DirectRouting": Way({"mode": "DirectRouting"}, "-g -w {}"),
    "IPIP": IPIP,
    "GUE": GUE,
    "GUE at another port": ELSEWHERE,
    "GRE": GRE,
    **{f"{name}, nodes with IPv4": Way(one.forwarding, one.shown, (4,)) for name, one in TUNNELS.items()},
    **{f"{name}, nodes with IPv6": Way(one.forwarding, one.shown, (6,)) for name, one in TUNNELS.items()},
}
NAMES = list(WAYS)
AT_A_TIME = tuple(tuple(way for way in NAMES if WAYS[way].nodes == nodes) for nodes in ((4, 6), (4,), (6,)))
each_way = pytest.mark.parametrize("way", NAMES)


@dataclass(frozen=True)
class Seen:
    """What came of exchanges, lines of the pods' web service by version of IP, and tables.

    ``forwarded`` counts the packets that the director handed on as a mere router meanwhile: answers, if they came by.
    """

    cells: Cells
    pages: dict[int, list[str]]
    forwarded: int
    director: str
    node: str


@pytest.fixture(scope="module")
def served(lab: Lab) -> Iterator[Matrix[Seen]]:
    cluster = Cluster(lab)
    yield Matrix(AT_A_TIME, partial(measure, cluster))
    clean(cluster)
    addresses_of_nodes(cluster, (4, 6))


def clean(cluster: Cluster) -> None:
    everything = {"apiVersion": "v1", "kind": "List", "items": [*map(manifest, NAMES), *DUAL_STACK]}
    cluster.lab.kubectl("delete", "--ignore-not-found", "-f", "-", input=json.dumps(everything))
    eventually(lambda: cluster.table() == cluster.table("node-1") == "", 30, "nothing is served")


def manifest(way: str) -> Json:
    spec: Json = {"addresses": list(addresses(way).values()), "ports": PORTS, "realServers": PODS_SERVE}
    return virtual_server(name(way), forwarding=WAYS[way].forwarding, **spec)


def addresses_of_nodes(cluster: Cluster, versions: tuple[int, ...]) -> None:
    """Say in the cluster that the nodes have these; their hosts keep both, and answer by the client's family."""
    for number, node in enumerate(("node-1", "node-2")):
        listed = [{"type": "InternalIP", "address": NODES[version][number]} for version in versions]
        for addresses in (None, [*listed, {"type": "Hostname", "address": node}]):  # None: a list of them is merged
            cluster.lab.api.request("PATCH", f"/api/v1/nodes/{node}/status", {"status": {"addresses": addresses}})


def name(way: str) -> str:
    return f"pods-{NAMES.index(way)}"


def addresses(way: str) -> dict[int, str]:
    number = 140 + NAMES.index(way)
    return {4: f"198.18.0.{number}", 6: f"fd00:18::{number}"}


def measure(cluster: Cluster, ways: tuple[str, ...]) -> Iterator[tuple[str, Seen]]:
    clean(cluster)
    addresses_of_nodes(cluster, WAYS[ways[0]].nodes)
    applied = {"apiVersion": "v1", "kind": "List", "items": [*DUAL_STACK, *map(manifest, ways)]}
    cluster.lab.kubectl("apply", "-f", "-", input=json.dumps(applied))
    for way in ways:
        cluster.available(name(way), "6/6", seconds=30)
        cluster.nodes_ready(name(way))
    director, node = cluster.table(), cluster.table("node-1")
    for way in ways:
        before = forwarded(cluster)
        pages = {version: pages_of(cluster, address) for version, address in addresses(way).items()}
        cells = exchanges(cluster, addresses(way), ECHO)
        yield way, Seen(cells, pages, forwarded(cluster) - before, director, node)


def pages_of(cluster: Cluster, address: str) -> list[str]:
    """Each on a new connection, all by one program: starting one takes longest."""
    urls = " ".join([f"http://{end(address, 80)}/"] * 6)
    return cluster.client(f"curl -g -sS --max-time 5 -H 'Connection: close' {urls}").splitlines()


def forwarded(cluster: Cluster) -> int:
    shown = cluster.director("nstat -asz IpForwDatagrams Ip6OutForwDatagrams")
    return sum(int(line.split()[1]) for line in shown.splitlines() if "Forw" in line)


def of(served: Matrix[Seen], way: str) -> Seen:
    seen = served.of(way)
    assert seen is not None, "could not be set up"
    return seen


@pytest.mark.parametrize(("protocol", "version"), CELLS, ids=[f"{one}-IPv{version}" for one, version in CELLS])
@each_way
def test_traffic_passes(served: Matrix[Seen], way: str, protocol: str, version: int) -> None:
    found = of(served, way).cells[protocol, version]
    if found != WELL:
        served.once_more(way)
    assert found == WELL


@each_way
def test_every_pod_sees_the_client_and_answers_it_past_the_director(served: Matrix[Seen], way: str) -> None:
    seen = of(served, way)
    wanted = {version: {f"{pod} {address}" for pod in PODS[version]} for version, address in CLIENT.items()}
    assert {version: set(lines) for version, lines in seen.pages.items()} == wanted
    assert seen.forwarded == 0


@each_way
def test_the_director_knows_nodes_by_what_their_pods_weigh_and_a_node_knows_its_own_pods(
    served: Matrix[Seen], way: str
) -> None:
    seen = of(served, way)
    director: set[str] = set()
    node: set[str] = set()
    for version, address in addresses(way).items():
        known = version if version in WAYS[way].nodes else WAYS[way].nodes[0]
        for kind, port, target in (("t", ECHO, 7), ("u", ECHO, 7), ("-sctp-service", ECHO, 7), ("t", 80, 8080)):
            virtual = f"-{kind} {end(address, port)}"
            for table in (director, node):
                table.add(f"-A {virtual} -s rr")
            for weight, one in zip((2, 1), NODES[known], strict=True):
                receiver = end(one, 0 if way == "DirectRouting" else port)
                director.add(f"-a {virtual} -r {receiver} {WAYS[way].shown.format(weight)}")
            for pod in ("pod-1a", "pod-1b"):
                node.add(f"-a {virtual} -r {end(PODS[version][pod], target)} -m -w 1")
    assert lines_of(way, seen.director) == director
    assert lines_of(way, seen.node) == node


def end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def lines_of(way: str, table: str) -> set[str]:
    starts = tuple(end(address, 0)[:-1] for address in addresses(way).values())
    return {line for line in table.splitlines() if line.split()[2].startswith(starts)}
