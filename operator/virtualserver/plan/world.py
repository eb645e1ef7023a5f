"""The cluster as far as we need it, as frozen values, and how they are made from the API's objects."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from pydantic import ValidationError

from virtualserver.api.directorgroup import DirectorGroupSpec
from virtualserver.api.failover import Failover
from virtualserver.api.rule import first_problem
from virtualserver.api.virtualserver import VirtualServerSpec
from virtualserver.model.types import IPAddress
from virtualserver.plan.reports import NOTHING_SAID, Ownership, ownership

IPNetwork = IPv4Network | IPv6Network
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Namespace (empty for cluster-scoped kinds) and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class VirtualServer:
    """A VirtualServer; ``spec`` is None when this version cannot read it, ``problem`` then says why."""

    key: ObjectKey
    uid: str
    generation: int
    created: str
    spec: VirtualServerSpec | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DirectorGroup:
    """A DirectorGroup, and what its directors say of themselves."""

    name: str
    uid: str
    generation: int
    spec: DirectorGroupSpec | None
    problem: str = ""
    created: str = ""
    ownership: Ownership = NOTHING_SAID

    @property
    def active(self) -> str | None:
        """The director that says it is active; who decides something by it waits for the API server."""
        return self.ownership.active or None

    @property
    def last_failover(self) -> Failover | None:
        """How that came to be, as its agent said."""
        return self.ownership.last


@dataclass(frozen=True, slots=True)
class Node:
    """A node: labels choose directors, addresses and pod networks are forbidden as virtual addresses."""

    name: str
    labels: Mapping[str, str]
    addresses: frozenset[IPAddress]
    pod_networks: tuple[IPNetwork, ...] = ()
    internal: tuple[IPAddress, ...] = ()
    """The addresses of type InternalIP, in the node's own order: where packets for its pods are sent."""
    cordoned: bool = False
    """Kubernetes puts no more pods there (``spec.unschedulable``): somebody is about to work on it."""


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service; its name is what EndpointSlices repeat."""

    name: str
    protocol: str
    port: int


@dataclass(frozen=True, slots=True)
class KubernetesService:
    """A Service of the cluster (not a virtual service of the kernel)."""

    key: ObjectKey
    ports: tuple[ServicePort, ...]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address behind a Service, with the conditions of discovery.k8s.io/v1."""

    address: IPAddress
    ready: bool
    serving: bool
    terminating: bool
    node: str = ""


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """A slice of a Service's endpoints; ``ports`` maps (name, protocol) to the number on the endpoints."""

    key: ObjectKey
    service: ObjectKey
    ports: Mapping[tuple[str, str], int]
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class World:
    """Everything that decisions are made from."""

    virtual_servers: Mapping[ObjectKey, VirtualServer] = field(default_factory=dict)
    groups: Mapping[str, DirectorGroup] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    services: Mapping[ObjectKey, KubernetesService] = field(default_factory=dict)
    slices: Mapping[ObjectKey, EndpointSlice] = field(default_factory=dict)
    service_networks: tuple[IPNetwork, ...] = ()

    def slices_of(self, service: ObjectKey) -> list[EndpointSlice]:
        """Return the slices of one Service, in the order of their names."""
        found = [piece for piece in self.slices.values() if piece.service == service]
        return sorted(found, key=lambda piece: piece.key)

    @property
    def api_servers(self) -> frozenset[IPAddress]:
        """Addresses of the API server: the endpoints of the Service default/kubernetes."""
        pieces = self.slices_of(ObjectKey("default", "kubernetes"))
        return frozenset(endpoint.address for piece in pieces for endpoint in piece.endpoints)


def key_of(obj: Json) -> ObjectKey:
    """Return the key of an object of the API."""
    metadata = obj["metadata"]
    return ObjectKey(metadata.get("namespace", ""), metadata["name"])


def virtual_server(obj: Json) -> VirtualServer:
    """Read a VirtualServer; one that cannot be read becomes a value with ``problem`` set, never an exception."""
    metadata = obj["metadata"]
    spec, problem = None, ""
    try:
        spec = VirtualServerSpec.model_validate(obj.get("spec", {}))
    except ValidationError as error:
        problem = first_problem(error)
    return VirtualServer(
        key_of(obj),
        metadata.get("uid", ""),
        metadata.get("generation", 0),
        metadata.get("creationTimestamp", ""),
        spec,
        problem,
    )


def director_group(obj: Json) -> DirectorGroup:
    """Read a DirectorGroup; one that cannot be read becomes a value with ``problem`` set."""
    metadata = obj["metadata"]
    spec, problem = None, ""
    try:
        spec = DirectorGroupSpec.model_validate(obj.get("spec", {}))
    except ValidationError as error:
        problem = first_problem(error)
    return DirectorGroup(
        metadata["name"],
        metadata.get("uid", ""),
        metadata.get("generation", 0),
        spec,
        problem,
        metadata.get("creationTimestamp", ""),
        ownership(obj.get("status") or {}),
    )


def _address(text: str) -> IPAddress | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _networks(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """Return the networks among ``texts``; what is none is left out, so that it stops nothing else."""
    made = []
    for text in texts:
        with contextlib.suppress(ValueError):
            made.append(ip_network(text, strict=False))
    return tuple(made)


def node(obj: Json) -> Node:
    """Read a Node; its addresses of types other than IP are left out."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    listed = [(entry.get("type"), _address(entry.get("address", ""))) for entry in status.get("addresses") or []]
    networks = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    return Node(
        obj["metadata"]["name"],
        obj["metadata"].get("labels") or {},
        frozenset(address for _, address in listed if address is not None),
        _networks(networks),
        tuple(address for kind, address in listed if kind == "InternalIP" and address is not None),
        spec.get("unschedulable") is True,
    )


def service(obj: Json) -> KubernetesService:
    """Read a Service."""
    ports = tuple(
        ServicePort(port.get("name", ""), port.get("protocol", "TCP"), port["port"])
        for port in (obj.get("spec") or {}).get("ports") or []
        if port.get("port")
    )
    return KubernetesService(key_of(obj), ports)


def endpoint_slice(obj: Json) -> EndpointSlice:
    """Read an EndpointSlice; unset conditions mean what discovery.k8s.io/v1 says (ready: true)."""
    key = key_of(obj)
    owner = (obj["metadata"].get("labels") or {}).get("kubernetes.io/service-name", "")
    ports = {
        (port.get("name") or "", port.get("protocol") or "TCP"): port["port"]
        for port in obj.get("ports") or []
        if port.get("port")
    }
    endpoints = []
    for entry in obj.get("endpoints") or []:
        conditions = entry.get("conditions") or {}
        ready = conditions.get("ready") is not False
        serving = conditions.get("serving", ready) is not False
        terminating = conditions.get("terminating") is True
        for text in entry.get("addresses") or []:
            address = _address(text)
            if address is not None:
                endpoints.append(Endpoint(address, ready, serving, terminating, entry.get("nodeName") or ""))
    return EndpointSlice(key, ObjectKey(key.namespace, owner), ports, tuple(endpoints))


def service_networks(obj: Json) -> tuple[IPNetwork, ...]:
    """Read a ServiceCIDR of networking.k8s.io/v1."""
    return _networks((obj.get("spec") or {}).get("cidrs") or [])
