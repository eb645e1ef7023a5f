"""Nothing stalls for its size: TCP is told what fits through a tunnel, UDP learns it by ICMP or is fragmented."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from e2e.world import VIP, VIP6, Cluster, Json, virtual_server

SIZES = Path(__file__).with_name("sizes.py")
NODES = ("198.18.0.31", "198.18.0.32")
NODES6 = ("fd00:18::31", "fd00:18::32")
WAYS: dict[str, tuple[Json, int]] = {
    "DirectRouting": ({"mode": "DirectRouting"}, 0),
    "IPIP": ({"mode": "Tunnel"}, 0),
    "GUE": ({"mode": "Tunnel", "tunnel": {"type": "GUE"}}, 8 + 4),
    "GRE": ({"mode": "Tunnel", "tunnel": {"type": "GRE"}}, 4),
    "GRE with checksum": ({"mode": "Tunnel", "tunnel": {"type": "GRE", "checksum": True}}, 8),
}
"""What each adds between the two IP headers, in bytes."""


CASES = [(way, inner, inner) for way in WAYS for inner in (4, 6)] + [
    (way, inner, outer) for way in ("IPIP", "GUE", "GRE") for inner, outer in ((4, 6), (6, 4))
]
"""A way, and the versions of what it carries and of what it is carried by."""


@pytest.mark.parametrize(("way", "inner", "outer"), CASES, ids=[f"{way}, {i} over {o}" for way, i, o in CASES])
def test_the_largest_packet_is_the_path_less_what_the_tunnel_adds(
    cluster: Cluster, way: str, inner: int, outer: int
) -> None:
    forwarding, extra = WAYS[way]
    address = VIP if inner == 4 else VIP6
    servers, header = (NODES, 20) if outer == 4 else (NODES6, 40)
    ports = [{"port": 7, "protocol": protocol, "name": protocol.lower()} for protocol in ("TCP", "UDP")]
    manifest = virtual_server(
        addresses=[address], ports=ports, forwarding=forwarding, realServers=[{"address": one} for one in servers]
    )
    cluster.serve(manifest, "2/2")
    cluster.nodes_ready()
    cluster.client("ip route flush cache; ip -6 route flush cache")
    measured = json.loads(cluster.client(f"{sys.executable} {SIZES} {address} 7 {1 if inner == 4 else 2}"))
    print(way, address, measured)
    added = header + extra if forwarding["mode"] == "Tunnel" else 0
    assert measured["udp_df"] == 1500 - added
    assert measured["tcp"] < 5
    assert measured["udp"] == [1000, 1472, 1473, 4000, 16000]
