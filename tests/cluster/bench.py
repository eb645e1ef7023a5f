"""Short ways to make, read and lose objects on a real API server."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubernetes.aio.client import Configuration

from lab.apiserver import ApiServer
from lab.chart import NAMESPACE
from virtualserver.cluster.client import Api
from virtualserver.cluster.credentials import load_configuration
from virtualserver.cluster.resources import (
    DIRECTOR_GROUPS,
    ENDPOINT_SLICES,
    NODES,
    SERVICES,
    VIRTUAL_SERVERS,
    Resource,
)
from virtualserver.plan.world import ObjectKey

Json = dict[str, Any]
AGENT, CONTROLLER, NODE = "virtualserver-agent", "virtualserver-controller", "n1"


class Bench:
    """Acts as the administrator; ``api`` gives clients with the rights of the product's own accounts."""

    def __init__(self, server: ApiServer, scratch: Path) -> None:
        self.server, self._scratch = server, scratch

    def api(self, account: str = AGENT, through: int | None = None, node: str = NODE) -> Api:
        """A client as ``account``; ``through``: the port of a proxy in front of the server."""
        path = self.kubeconfig(account, node)

        async def load() -> Configuration:
            before = os.environ.get("KUBECONFIG")
            os.environ["KUBECONFIG"] = str(path)
            try:
                made = await load_configuration()
            finally:
                os.environ.pop("KUBECONFIG")
                if before is not None:
                    os.environ["KUBECONFIG"] = before
            if through is not None:
                made.host = f"https://127.0.0.1:{through}"
            return made

        return Api(load)

    def kubeconfig(self, account: str, node: str = NODE) -> Path:
        """Credentials of an account; an agent's are bound to its Node, as those of a pod on it would be."""
        path = self._scratch / f"{account}-{node}.kubeconfig"
        if path.exists():
            return path
        if account != AGENT:
            return self.server.account_kubeconfig(path, NAMESPACE, account)
        if not any(one["metadata"]["name"] == node for one in self.server.request("GET", NODES.path())["items"]):
            self.create(NODES, node)
        return self.server.account_kubeconfig(path, NAMESPACE, account, node=node)

    def create(self, resource: Resource, name: str, **more: Any) -> Json:
        namespace = "default" if resource.namespaced else ""
        labels = more.pop("labels", {})
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **more}
        body["metadata"] = {"name": name, "labels": labels}
        made: Json = self.server.request("POST", resource.collection(namespace), body)
        return made

    def virtual_server(self, name: str, address: str = "198.18.0.100", *servers: Json, **more: Any) -> Json:
        spec = {
            "addresses": [address],
            "ports": [{"port": 80}],
            "realServers": list(servers) or [{"address": "198.18.1.21"}],
        }
        return self.create(VIRTUAL_SERVERS, name, spec=spec | more)

    def group(self, name: str = "default", labels: Json | None = None, **spec: Any) -> Json:
        base = {"nodeSelector": labels or {"d": "1"}, "interface": "eth0"}
        return self.create(DIRECTOR_GROUPS, name, spec=base | spec)

    def node(self, name: str, address: str = "127.0.0.1") -> Json:
        self.create(NODES, name, labels={"d": "1"})
        status = {"status": {"addresses": [{"type": "InternalIP", "address": address}]}}
        made: Json = self.server.request("PATCH", f"/api/v1/nodes/{name}/status", status)
        return made

    def get(self, resource: Resource, name: str) -> Json:
        key = ObjectKey("default" if resource.namespaced else "", name)
        made: Json = self.server.request("GET", resource.path(key))
        return made

    def delete(self, resource: Resource, name: str) -> None:
        self.server.request("DELETE", resource.path(ObjectKey("default" if resource.namespaced else "", name)))

    def clear(self) -> None:
        for resource in (VIRTUAL_SERVERS, DIRECTOR_GROUPS, NODES):
            for obj in self.server.request("GET", resource.path())["items"]:
                self.delete(resource, obj["metadata"]["name"])
        for resource in (SERVICES, ENDPOINT_SLICES):
            for obj in self.server.request("GET", resource.collection("default"))["items"]:
                if obj["metadata"]["name"] != "kubernetes":
                    self.delete(resource, obj["metadata"]["name"])

    def vanish(self, name: str) -> None:
        """Remove a VirtualServer from etcd behind the API server's back: as if deleted while nobody looked."""
        self.server.vanish(f"virtualserver.dev/virtualservers/default/{name}")

    def events(self, name: str) -> list[tuple[str, str]]:
        """Type and reason of the events about an object."""
        items = self.server.request("GET", "/apis/events.k8s.io/v1/namespaces/default/events")["items"]
        return [(one["type"], one["reason"]) for one in items if one["regarding"].get("name") == name]

    def written(self, since: int, account: str) -> list[tuple[str, str, str, int]]:
        """Verb, resource, name and answer of what an account wrote since an audit mark."""
        user = f"system:serviceaccount:{NAMESPACE}:{account}"
        return [
            (one["verb"], one["objectRef"]["resource"], one["objectRef"].get("name", ""), one["responseStatus"]["code"])
            for one in self.server.audit(since, user)
            if one["verb"] not in ("get", "list", "watch") and "objectRef" in one
        ]


def conditions(obj: Json) -> dict[str, tuple[str, str]]:
    """Status and reason by type."""
    return {one["type"]: (one["status"], one["reason"]) for one in (obj.get("status") or {}).get("conditions") or []}


async def until(true: Callable[[], object], seconds: float, what: str) -> float:
    """Wait until something holds; returns how long that took."""
    began = time.monotonic()
    while not await asyncio.to_thread(true):
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began
