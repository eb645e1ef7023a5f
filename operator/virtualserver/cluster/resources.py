"""The kinds of the API that we read or write, and where they are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from virtualserver.api.base import GROUP, VERSION
from virtualserver.plan.world import ObjectKey


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of the API; ``optional`` kinds are missing in older clusters and then count as empty."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    optional: bool = False

    @property
    def api_version(self) -> str:
        """Return ``group/version``, without the group for the core."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, key: ObjectKey | None = None, subresource: str = "") -> str:
        """Return the URL path of one object, or of all objects of all namespaces."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if key is None:
            return f"{base}/{self.plural}"
        path = f"{self.collection(key.namespace)}/{key.name}"
        return f"{path}/{subresource}" if subresource else path

    def identity(self, key: ObjectKey) -> dict[str, Any]:
        """Return the members that every object of this kind has, to be completed by what is said of it."""
        metadata = {"name": key.name, **({"namespace": key.namespace} if key.namespace else {})}
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata}

    def collection(self, namespace: str) -> str:
        """Return the URL path under which objects of a namespace are created."""
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{base}/namespaces/{namespace}/{self.plural}" if self.namespaced else f"{base}/{self.plural}"


VIRTUAL_SERVERS = Resource(GROUP, VERSION, "virtualservers", "VirtualServer", True)
DIRECTOR_GROUPS = Resource(GROUP, VERSION, "directorgroups", "DirectorGroup", False)
NODES = Resource("", "v1", "nodes", "Node", False)
SERVICES = Resource("", "v1", "services", "Service", True)
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", True)
SERVICE_CIDRS = Resource("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", False, optional=True)
EVENTS = Resource("events.k8s.io", "v1", "events", "Event", True)

WATCHED = (VIRTUAL_SERVERS, DIRECTOR_GROUPS, NODES, SERVICES, ENDPOINT_SLICES, SERVICE_CIDRS)
"""Every kind that decisions look at: what ``plan.store.Store`` keeps."""
