"""Faults on the way of packets, made by hand on hosts of the lab, and what the status says of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from e2e.world import Cluster
from lab.lab import Lab

AFAR = "203.0.113.0/24"  # clients behind a router: RFC 5737
ON_DIRECTORS_AND_NODES = ("director-1", "director-2", "node-1", "node-2")
FOUND_WITHIN, GONE_WITHIN = 240.0, 120.0
"""Seconds. Two looks in a row, one every 10 s: 15 to 25 s on a quiet machine, and nobody waits longer than it takes."""
Identity = tuple[str, str, str, str]
"""Virtual server, node, reason, real server."""


@dataclass(frozen=True)
class Fault:
    """What is done to a host, and what the entry of ``node`` must say; ``undo`` puts it right."""

    server: str
    node: str
    reason: str
    real_server: str
    host: str
    do: str
    undo: str
    words: tuple[str, ...]
    cleanup: str = field(default="true")

    @property
    def identity(self) -> Identity:
        return self.server, self.node, self.reason, self.real_server


def told(cluster: Cluster, servers: Iterable[str]) -> dict[Identity, str]:
    """Return every finding of every entry, and its message."""
    found: dict[Identity, str] = {}
    for server in servers:
        status = cluster.status(server)
        for entry in [*(status.get("directors") or []), *(status.get("nodes") or [])]:
            for one in entry.get("findings") or []:
                key = (server, entry["node"], one["reason"], one.get("realServer", ""))
                found[key] = f"{found.get(key, '')} {one['message']}".strip()
    return found


@contextmanager
def clients_afar(lab: Lab) -> Iterator[None]:
    """There are clients behind a router as well: the hosts have a route to them, and the group knows."""
    for host in ON_DIRECTORS_AND_NODES:
        lab.host(host).run(f"ip route add {AFAR} via 198.18.0.2")
    _client_networks(lab, ["198.18.0.0/24", AFAR])
    try:
        yield
    finally:
        for host in ON_DIRECTORS_AND_NODES:
            lab.host(host).run(f"ip route del {AFAR}", check=False)
        _client_networks(lab, None)


def _client_networks(lab: Lab, networks: list[str] | None) -> None:
    lab.kubectl("patch", "dg", "default", "--type=merge", "-p", json.dumps({"spec": {"clientNetworks": networks}}))
