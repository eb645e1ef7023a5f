"""Node objects for the directors, as a kubelet would have made them."""

import json

from lab import network
from lab.apiserver import ApiServer

LABEL = "virtualserver.dev/director"


def create(api: ApiServer, mgmt: network.Segment) -> None:
    """Ready nodes with their management address as InternalIP; their taint for new nodes is taken off."""
    plans = [host for host in network.HOSTS if host.role == "director"]
    api.kubectl("create", "-f", "-", input=json.dumps(_list([_node(plan.name, plan.number) for plan in plans])))
    for plan in plans:
        api.kubectl("patch", "node", plan.name, "--type=merge", "-p", json.dumps({"spec": {"taints": None}}))
        status = json.dumps({"status": _status(f"{mgmt.ipv4}.{plan.number}", plan.name)})
        api.kubectl("patch", "node", plan.name, "--subresource=status", "--type=merge", "-p", status)


def _list(items: list[dict[str, object]]) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _node(name: str, number: int) -> dict[str, object]:
    metadata = {"name": name, "labels": {LABEL: "true", "kubernetes.io/hostname": name}}
    pods = f"10.244.{number}.0/24"
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"podCIDR": pods, "podCIDRs": [pods]}}


def _status(address: str, name: str) -> dict[str, object]:
    return {
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "Lab", "message": "a host of the lab"}],
    }
