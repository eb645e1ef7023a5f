"""What one virtual server needs of one node. A node holds the union of these, so removing one leaves the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain

from virtualserver.api.base import seconds
from virtualserver.api.enums import PersistenceType
from virtualserver.api.virtualserver import Port, VirtualServerSpec
from virtualserver.model.addresses import read_address
from virtualserver.model.types import (
    Admission,
    Clamp,
    Decapsulation,
    ForwardingMethod,
    IPAddress,
    LinkAddress,
    OwnLink,
    Protocol,
    Service,
    ServiceContent,
    ServiceKey,
)
from virtualserver.plan.diff import Subject
from virtualserver.plan.forwarding import direct, from_director
from virtualserver.plan.shares import RealServerPlan
from virtualserver.plan.world import DirectorGroup, Node

DEFAULT_PERSISTENCE = 300
"""Seconds; what ``ipvsadm -p`` takes without a value."""

ByPort = Mapping[Port, list[RealServerPlan]]


@dataclass(frozen=True, slots=True)
class Part:
    """What one virtual server needs here.

    ``virtual``: addresses that the active director of its group holds, and every director must be able to.
    ``translated``: services whose connections get the director's own source address.
    ``sealed``: addresses that take nothing from the kernel's own tunnel devices. ``nat``: packets are rewritten here.
    """

    services: Mapping[ServiceKey, Service] = field(default_factory=dict)
    addresses: frozenset[LinkAddress] = frozenset()
    translated: frozenset[ServiceKey] = frozenset()
    own_links: Mapping[str, OwnLink] = field(default_factory=dict)
    decapsulations: frozenset[Decapsulation] = frozenset()
    admissions: frozenset[Admission] = frozenset()
    clamps: frozenset[Clamp] = frozenset()
    sealed: frozenset[IPAddress] = frozenset()
    virtual: frozenset[LinkAddress] = frozenset()
    nat: bool = False

    @property
    def subjects(self) -> Iterable[Subject]:
        """Everything of it that an operation may be about."""
        return chain(self.services, self.addresses, self.virtual, self.own_links, self.decapsulations)


def director(
    spec: VirtualServerSpec, group: DirectorGroup, by_port: ByPort, node: str, nodes: Mapping[str, Node]
) -> Part:
    """Return what a director needs, active or not."""
    services = {
        key: Service(
            content(spec, key.address.version), from_director(spec.forwarding, key, by_port[port], node, nodes)
        )
        for port, key in virtual_services(spec, by_port)
    }
    nat = spec.forwarding.nat
    translated = frozenset(services) if nat and nat.source_translation else frozenset()
    return Part(services, translated=translated, virtual=_addresses(spec, group), nat=_rewrites(spec, services))


def _rewrites(spec: VirtualServerSpec, services: Mapping[ServiceKey, Service]) -> bool:
    """Tell whether a director rewrites packets: by the mode, or to pods of its own."""
    found = (content.method for service in services.values() for content in service.destinations.values())
    return not direct(spec.forwarding) or ForwardingMethod.NAT in found


def virtual_services(spec: VirtualServerSpec, ports: Iterable[Port]) -> Iterable[tuple[Port, ServiceKey]]:
    """Yield every virtual service of a spec with the port that it is for."""
    for port in ports:
        for text in spec.addresses:
            yield port, ServiceKey(Protocol(port.protocol), read_address(text), port.port)


def content(spec: VirtualServerSpec, version: int) -> ServiceContent:
    """Return how a virtual service of this family (4 or 6) is set."""
    persistence = spec.persistence
    host = 32 if version == 4 else 128
    flags = frozenset(spec.scheduler.flags) | (frozenset({"ops"}) if spec.scheduler.one_packet else frozenset())
    if persistence.type is PersistenceType.NONE:
        return ServiceContent(spec.scheduler.name, flags, 0, host)
    timeout = int(seconds(persistence.timeout)) if persistence.timeout else DEFAULT_PERSISTENCE
    prefix = persistence.ipv4_prefix_length if version == 4 else persistence.ipv6_prefix_length
    return ServiceContent(spec.scheduler.name, flags, timeout, prefix or host)


def host_address(link: str, text: str) -> LinkAddress:
    """Return an address with the prefix of a single host."""
    address = read_address(text)
    return LinkAddress(link, address, address.max_prefixlen)


def _addresses(spec: VirtualServerSpec, group: DirectorGroup) -> frozenset[LinkAddress]:
    assert group.spec is not None
    wanted = {host_address(group.spec.interface, text) for text in spec.addresses}
    if group.spec.gateway is not None:
        wanted |= {host_address(group.spec.gateway.interface, text) for text in group.spec.gateway.addresses}
    return frozenset(wanted)
