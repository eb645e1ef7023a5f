"""Every way of forwarding, for every protocol and family, with real traffic: nodes that are real servers themselves.

A cell of the matrix that a kernel cannot do would be named here and in docs/modes.md with the kernel's reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.world import VIP, VIP6, Cluster, Json, eventually, virtual_server
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
COUNT = 4


@pytest.fixture(scope="module")
def served(lab: Lab) -> Iterator[dict[str, dict[tuple[str, str], Json]]]:
    """Answers by mode and cell; each mode is set up once, by the first cell that asks."""
    answers: dict[str, dict[tuple[str, str], Json]] = {}
    yield answers
    Cluster(lab).delete("matrix")


def echo(mode: str) -> Json:
    forwarding, addresses = MODES[mode]
    return virtual_server(
        "matrix",
        addresses=[VIP, VIP6],
        ports=[{"protocol": one, "name": one.lower(), "port": port(mode), "targetPort": 7} for one in PROTOCOLS],
        forwarding=forwarding,
        realServers=[{"address": address} for address in addresses],
    )


def port(mode: str) -> int:
    return 4007 if "rewritten" in mode else 7


def measure(cluster: Cluster, mode: str) -> dict[tuple[str, str], Json]:
    cluster.delete("matrix")
    eventually(lambda: cluster.table() == "", 10, "clean before")
    cluster.lab.kubectl("apply", "-f", "-", input=json.dumps(echo(mode)))
    cluster.available("matrix", f"{len(MODES[mode][1])}/{len(MODES[mode][1])}", seconds=20)
    cluster.nodes_ready("matrix", 2 if MODES[mode][1][0] in NODES else 0)
    cells = [(protocol, address) for protocol in PROTOCOLS for address in (VIP, VIP6)]
    return dict(zip(cells, cluster.probe(COUNT, [(*cell, port(mode)) for cell in cells]), strict=True))


@pytest.mark.parametrize("address", [VIP, VIP6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", MODES)
def test_traffic_passes(served: dict[str, Any], lab: Lab, mode: str, protocol: str, address: str) -> None:
    if mode not in served:
        served[mode] = {}  # a mode that cannot be set up fails its other cells at once
        served[mode] = measure(Cluster(lab), mode)
    assert served[mode].get((protocol, address)) == {"answers": COUNT, "problem": ""}
