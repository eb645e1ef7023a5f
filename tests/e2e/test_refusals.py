"""What only the cluster can refuse: a condition within a second, no kernel write, and the others go on."""

from __future__ import annotations

import time
from functools import partial

import pytest

from e2e.world import VIP, Cluster, Json, eventually, virtual_server

OTHER = "198.18.0.110"
BAD: list[tuple[str, Json, str, str, list[str]]] = [
    ("a node's address", {"addresses": ["{node}"]}, "Accepted", "AddressForbidden", ["{node}", "node director-1"]),
    ("a Service address", {"addresses": ["10.96.0.50"]}, "Accepted", "AddressForbidden", ["Service range"]),
    ("the gateway", {"addresses": ["198.18.1.1"]}, "Accepted", "AddressForbidden", ["gateway"]),
    ("the API server", {"addresses": ["{api}"]}, "Accepted", "AddressForbidden", ["API server"]),
    ("an address in use", {"addresses": [VIP]}, "Accepted", "AddressInUse", ["default/web", f"{VIP}:80"]),
    ("no such group", {"directorGroup": "edge"}, "Accepted", "DirectorGroupNotFound", ["'edge'"]),
    (
        "a real server elsewhere",
        {"realServers": [{"address": "203.0.113.5"}]},
        "Accepted",
        "RealServerForbidden",
        ["203.0.113.5"],
    ),
    (
        "no such Service",
        {"realServers": [{"service": {"name": "nobody"}}]},
        "ResolvedRefs",
        "ServiceNotFound",
        ["nobody"],
    ),
    (
        "no such port",
        {"realServers": [{"service": {"name": "kubernetes2"}}]},
        "ResolvedRefs",
        "ServicePortNotFound",
        ["80/TCP", "443/TCP"],
    ),
]
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "kubernetes2", "namespace": "default"},
    "spec": {"ports": [{"name": "https", "port": 443}]},
}


def _with_reason(cluster: Cluster, name: str, kind: str, reason: str) -> Json:
    """Return a condition that gives this reason; an empty one as long as it does not."""
    found = cluster.condition(kind, name)
    return found if found.get("reason") == reason else {}


def test_what_only_the_cluster_can_know_is_a_condition_and_nobody_else_suffers(cluster: Cluster) -> None:
    cluster.apply(SERVICE)
    cluster.serve(virtual_server(), "3/3")
    time.sleep(3)  # until the settings no longer follow the last change
    before, mark = cluster.table(), cluster.mark()
    mgmt = cluster.lab.mgmt.ipv4
    for number, (what, spec, kind, reason, words) in enumerate(BAD):
        fill = {"{node}": f"{mgmt}.11", "{api}": f"{mgmt}.1"}
        name = f"bad-{number}"
        filled: Json = {"addresses": [OTHER]} | {
            key: [fill.get(one, one) if isinstance(one, str) else one for one in value]
            if isinstance(value, list)
            else value
            for key, value in spec.items()
        }
        cluster.apply(virtual_server(name, **filled))
        condition = eventually(partial(_with_reason, cluster, name, kind, reason), 1.0, f"{what}: {kind} {reason}")
        assert condition["status"] == "False"
        for word in words:
            assert fill.get(word, word) in condition["message"], what
        eventually(partial(_with_reason, cluster, name, "Available", "NotProgrammed"), 1.0, f"{what}: not available")
        time.sleep(1)  # time enough for a director to make a mistake
        assert (cluster.table(), cluster.written(mark)) == (before, []), f"{what}: nothing is written"
        cluster.delete(name)
    assert len(cluster.fetch(3)) == 3
    eventually(lambda: cluster.table() == before, 5, "as before")


def test_the_younger_takes_over_when_the_older_is_gone(cluster: Cluster) -> None:
    cluster.serve(virtual_server("web"), "3/3")
    cluster.apply(virtual_server("young"))
    eventually(lambda: cluster.condition("Accepted", "young").get("reason") == "AddressInUse", 2, "refused")
    cluster.delete("web")
    cluster.available("young", "3/3")


def test_what_the_schema_can_refuse_never_reaches_the_cluster(cluster: Cluster) -> None:
    manifest = virtual_server(ports=[{"port": 65536}])
    with pytest.raises(Exception, match=r"spec\.ports\[0\]\.port") as refused:
        cluster.apply(manifest)
    assert "65535" in str(refused.value)
