"""Every way of forwarding, for every protocol and family, with real traffic: nodes that are real servers themselves.

A cell of the matrix that a kernel cannot do would be named here and in docs/modes.md with the kernel's reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from e2e.world import Cluster, Json, eventually, virtual_server
from lab.lab import Lab

PROTOCOLS = ("TCP", "UDP", "SCTP")
NODES = ("198.18.0.31", "198.18.0.32", "fd00:18::31", "fd00:18::32")
BEHIND = ("198.18.1.21", "198.18.1.22", "fd00:18:1::21", "fd00:18:1::22")
BESIDE = ("198.18.0.21", "198.18.0.22", "fd00:18::21", "fd00:18::22")
MODES: dict[str, tuple[Json, tuple[str, ...]]] = {
    "NAT": ({"mode": "NAT"}, BEHIND),
    "NAT with source translation": ({"mode": "NAT", "nat": {"sourceTranslation": True}}, BESIDE),
    "NAT with ports rewritten": ({"mode": "NAT"}, BEHIND),
    "NAT with source translation and ports rewritten": ({"mode": "NAT", "nat": {"sourceTranslation": True}}, BESIDE),
    "DirectRouting": ({"mode": "DirectRouting"}, NODES),
    "IPIP": ({"mode": "Tunnel", "tunnel": {"type": "IPIP"}}, NODES),
    "GUE": ({"mode": "Tunnel", "tunnel": {"type": "GUE"}}, NODES),
    "GUE with checksum": ({"mode": "Tunnel", "tunnel": {"type": "GUE", "checksum": True}}, NODES),
    "GRE": ({"mode": "Tunnel", "tunnel": {"type": "GRE"}}, NODES),
    "GRE with checksum": ({"mode": "Tunnel", "tunnel": {"type": "GRE", "checksum": True}}, NODES),
    "IPIP, IPv6 over IPv4": ({"mode": "Tunnel"}, NODES[:2]),
    "IPIP, IPv4 over IPv6": ({"mode": "Tunnel"}, NODES[2:]),
    "GUE, IPv6 over IPv4": ({"mode": "Tunnel", "tunnel": {"type": "GUE"}}, NODES[:2]),
    "GUE, IPv4 over IPv6": ({"mode": "Tunnel", "tunnel": {"type": "GUE"}}, NODES[2:]),
    "GRE, IPv6 over IPv4": ({"mode": "Tunnel", "tunnel": {"type": "GRE"}}, NODES[:2]),
    "GRE, IPv4 over IPv6": ({"mode": "Tunnel", "tunnel": {"type": "GRE"}}, NODES[2:]),
}
AT_A_TIME = (
    tuple(mode for mode in MODES if mode.startswith("NAT")),
    ("DirectRouting", "IPIP", "GUE", "GRE"),
    ("GUE with checksum", "GRE with checksum"),
    ("IPIP, IPv6 over IPv4", "GUE, IPv6 over IPv4", "GRE, IPv6 over IPv4"),
    ("IPIP, IPv4 over IPv6", "GUE, IPv4 over IPv6", "GRE, IPv4 over IPv6"),
)
"""Modes that are served at the same time, each at addresses of its own: setting up takes longest."""
COUNT = 4
Cells = dict[tuple[str, int], Json]
"""Answers by protocol and version of IP."""


WELL = {"answers": COUNT, "problem": ""}
AGAIN: set[str] = set()
"""Modes that were set up a second time: a busy machine may be too slow once."""


@pytest.fixture(scope="module")
def served(lab: Lab) -> Iterator[dict[str, Cells]]:
    """Answers by mode; modes are set up by the first cell that asks."""
    assert sorted(mode for modes in AT_A_TIME for mode in modes) == sorted(MODES)
    answers: dict[str, Cells] = {}
    yield answers
    for number in range(len(MODES)):
        Cluster(lab).delete(f"matrix-{number}")


def addresses(mode: str) -> dict[int, str]:
    number = list(MODES).index(mode)
    return {4: f"198.18.0.{120 + number}", 6: f"fd00:18::{120 + number}"}


def name(mode: str) -> str:
    return f"matrix-{list(MODES).index(mode)}"


def echo(mode: str) -> Json:
    forwarding, servers = MODES[mode]
    return virtual_server(
        name(mode),
        addresses=list(addresses(mode).values()),
        ports=[{"protocol": one, "name": one.lower(), "port": port(mode), "targetPort": 7} for one in PROTOCOLS],
        forwarding=forwarding,
        realServers=[{"address": address} for address in servers],
    )


def port(mode: str) -> int:
    return 4007 if "rewritten" in mode else 7


def measure(cluster: Cluster, modes: tuple[str, ...]) -> Iterator[tuple[str, Cells]]:
    for number in range(len(MODES)):
        cluster.delete(f"matrix-{number}")
    eventually(lambda: cluster.table() == "", 20, "clean before")
    for mode in modes:
        cluster.lab.kubectl("apply", "-f", "-", input=json.dumps(echo(mode)))
    for mode in modes:
        servers = MODES[mode][1]
        cluster.available(name(mode), f"{len(servers)}/{len(servers)}", seconds=30)
        cluster.nodes_ready(name(mode), 2 if servers[0] in NODES else 0)
    for mode in modes:
        cells = [(protocol, version) for protocol in PROTOCOLS for version in (4, 6)]
        targets = [(protocol, addresses(mode)[version], port(mode)) for protocol, version in cells]
        yield mode, dict(zip(cells, cluster.probe(COUNT, targets), strict=True))


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", [mode for modes in AT_A_TIME for mode in modes])
def test_traffic_passes(served: dict[str, Cells], lab: Lab, mode: str, protocol: str, version: int) -> None:
    if mode not in served:
        modes = tuple(one for one in next(modes for modes in AT_A_TIME if mode in modes) if one not in served)
        served.update({one: {} for one in modes})  # modes that cannot be set up fail their other cells at once
        served.update(measure(Cluster(lab), modes))
    found = served[mode].get((protocol, version))
    if found != WELL and mode not in AGAIN:
        AGAIN.add(mode)
        del served[mode]  # for the second run of this test
    assert found == WELL
