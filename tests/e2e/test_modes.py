"""Every way of forwarding, for every protocol and family, with real traffic: nodes that are real servers themselves.

A cell of the matrix that a kernel cannot do would be named here and in docs/modes.md with the kernel's reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import pytest

from e2e.matrix import CELLS, PROTOCOLS, WELL, Cells, Matrix, exchanges
from e2e.world import Cluster, Json, eventually, virtual_server
from lab.lab import Lab

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


@pytest.fixture(scope="module")
def served(lab: Lab) -> Iterator[Matrix[Cells]]:
    """Answers by mode."""
    assert sorted(mode for modes in AT_A_TIME for mode in modes) == sorted(MODES)
    cluster = Cluster(lab)
    yield Matrix(AT_A_TIME, partial(measure, cluster))
    for number in range(len(MODES)):
        cluster.delete(f"matrix-{number}")


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
        yield mode, exchanges(cluster, addresses(mode), port(mode))


@pytest.mark.parametrize(("protocol", "version"), CELLS, ids=[f"{one}-IPv{version}" for one, version in CELLS])
@pytest.mark.parametrize("mode", [mode for modes in AT_A_TIME for mode in modes])
def test_traffic_passes(served: Matrix[Cells], mode: str, protocol: str, version: int) -> None:
    found = (served.of(mode) or {}).get((protocol, version))
    if found != WELL:
        served.once_more(mode)
    assert found == WELL
