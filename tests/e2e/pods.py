"""The lab's pods as a Service of the cluster: dual-stack, so with a slice of endpoints for each family."""

from __future__ import annotations

from typing import Any

from e2e.world import VIP, VIP6, Cluster, Json, virtual_server

PODS = {
    4: {"pod-1a": "10.244.31.11", "pod-1b": "10.244.31.12", "pod-2a": "10.244.32.11"},
    6: {"pod-1a": "fd00:10:244:31::11", "pod-1b": "fd00:10:244:31::12", "pod-2a": "fd00:10:244:32::11"},
}
"""Addresses by version of IP."""
PODS_SERVE: list[Json] = [{"service": {"name": "app"}}]
ECHO = 4007
"""The Service's port for the echo; the pods' own is 7."""
PORTS: list[Json] = [
    *({"name": one.lower(), "protocol": one, "port": ECHO} for one in ("TCP", "UDP", "SCTP")),
    {"name": "web", "protocol": "TCP", "port": 80},
]
TARGETS = {"tcp": 7, "udp": 7, "sctp": 7, "web": 8080}
SERVICE: Json = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "app", "namespace": "default"},
    "spec": {"ports": [one | {"targetPort": TARGETS[one["name"]]} for one in PORTS]},
}


def endpoints(*ready: str, version: int = 4) -> Json:
    """The slice of one family; pods that are not named are not ready."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"app-{version}", "namespace": "default", "labels": {"kubernetes.io/service-name": "app"}},
        "addressType": f"IPv{version}",
        "ports": [one | {"port": TARGETS[one["name"]]} for one in PORTS],
        "endpoints": [
            {"addresses": [address], "nodeName": f"node-{name[4]}", "conditions": {"ready": name in ready}}
            for name, address in PODS[version].items()
        ],
    }


DUAL_STACK = [SERVICE, endpoints(*PODS[4]), endpoints(*PODS[6], version=6)]
"""Everything that makes pods serve both families; all are ready."""


def pods_serve(cluster: Cluster, name: str = "web", **spec: Any) -> None:
    """Serve both families by pods, and wait until all of it stands; ``forwarding`` is among the spec."""
    for one in DUAL_STACK:
        cluster.apply(one)
    cluster.serve(virtual_server(name, addresses=[VIP, VIP6], realServers=PODS_SERVE, **spec), "6/6")
    cluster.nodes_ready(name, 0 if spec["forwarding"]["mode"] == "NAT" else 2)
