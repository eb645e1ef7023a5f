"""Node objects for the directors, as a kubelet would have made them."""

from lab import network
from lab.apiserver import ApiServer

LABEL = "virtualserver.dev/director"


def create(api: ApiServer, mgmt: network.Segment) -> None:
    """Ready nodes with their management address as InternalIP; their taint for new nodes is taken off."""
    for plan in (host for host in network.HOSTS if host.role == "director"):
        path = f"/api/v1/nodes/{plan.name}"
        api.request("POST", "/api/v1/nodes", _node(plan.name, plan.number))
        api.request("PATCH", path, {"spec": {"taints": None}})
        api.request("PATCH", f"{path}/status", {"status": _status(f"{mgmt.ipv4}.{plan.number}", plan.name)})


def _node(name: str, number: int) -> dict[str, object]:
    metadata = {"name": name, "labels": {LABEL: "true", "kubernetes.io/hostname": name}}
    pods = f"10.244.{number}.0/24"
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"podCIDR": pods, "podCIDRs": [pods]}}


def _status(address: str, name: str) -> dict[str, object]:
    return {
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "Lab", "message": "a host of the lab"}],
    }
