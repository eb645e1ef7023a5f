"""Node objects for the directors and nodes, as a kubelet would have made them."""

from lab import network
from lab.apiserver import ApiServer

LABEL = "virtualserver.dev/director"


def create(api: ApiServer, mgmt: network.Segment) -> None:
    """Ready nodes; their taint for new nodes is taken off.

    The InternalIP of a director is its management address, that of a node with pods its address among the clients.
    """
    for plan in (host for host in network.HOSTS if host.name in network.NODES):
        path = f"/api/v1/nodes/{plan.name}"
        director = plan.role == "director"
        addresses = [f"{mgmt.ipv4}.{plan.number}"] if director else _bare(network.CLIENT, plan.number)
        api.request("POST", "/api/v1/nodes", _node(plan, {LABEL: "true"} if director else {}))
        api.request("PATCH", path, {"spec": {"taints": None}})
        api.request("PATCH", f"{path}/status", {"status": _status(addresses, plan.name)})


def _bare(segment: network.Segment, number: int) -> list[str]:
    return [address.partition("/")[0] for address in segment.addresses(number)]


def _node(plan: network.HostPlan, labels: dict[str, str]) -> dict[str, object]:
    metadata = {"name": plan.name, "labels": {**labels, "kubernetes.io/hostname": plan.name}}
    pods = network.pods(plan.number)
    ranges = [f"{pods.ipv4}.0/24", f"{pods.ipv6}/64"]
    spec = {"podCIDR": ranges[0], "podCIDRs": ranges}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}


def _status(addresses: list[str], name: str) -> dict[str, object]:
    listed = [{"type": "InternalIP", "address": address} for address in addresses]
    return {
        "addresses": [*listed, {"type": "Hostname", "address": name}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "Lab", "message": "a host of the lab"}],
    }
