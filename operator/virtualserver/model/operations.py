"""Operations on the kernel as values: printable, countable, ordered by ``plan.diff`` and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from virtualserver.model.failover import Instance, SyncDaemon, SyncRole
from virtualserver.model.types import (
    Decapsulation,
    DestinationContent,
    DestinationKey,
    LinkAddress,
    OwnLink,
    Rules,
    ServiceContent,
    ServiceKey,
)


@dataclass(frozen=True, slots=True)
class AddService:
    """Create a virtual service; refused with EEXIST when it is there."""

    key: ServiceKey
    content: ServiceContent


@dataclass(frozen=True, slots=True)
class SetService:
    """Change a virtual service whole (absent fields would reset); refused with ESRCH when missing."""

    key: ServiceKey
    content: ServiceContent


@dataclass(frozen=True, slots=True)
class RemoveService:
    """Delete a virtual service and its real servers."""

    key: ServiceKey


@dataclass(frozen=True, slots=True)
class AddDestination:
    """Add a real server to a virtual service."""

    service: ServiceKey
    key: DestinationKey
    content: DestinationContent


@dataclass(frozen=True, slots=True)
class SetDestination:
    """Change a real server whole."""

    service: ServiceKey
    key: DestinationKey
    content: DestinationContent


@dataclass(frozen=True, slots=True)
class RemoveDestination:
    """Take a real server out; its connections stay or end as ``expire_nodest_conn`` says."""

    service: ServiceKey
    key: DestinationKey


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Put an address on a link, marked as ours, and tell the segment (gratuitous ARP, unsolicited NA)."""

    address: LinkAddress


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    """Take an address of ours off a link."""

    address: LinkAddress


@dataclass(frozen=True, slots=True)
class AddLink:
    """Make a link of ours, down, so that its settings can be written before a packet comes through it."""

    name: str
    link: OwnLink


@dataclass(frozen=True, slots=True)
class RaiseLink:
    """Set a link of ours up."""

    name: str


@dataclass(frozen=True, slots=True)
class RemoveLink:
    """Delete a link of ours, its addresses with it."""

    name: str


@dataclass(frozen=True, slots=True)
class AddDecapsulation:
    """Open a UDP port for GUE packets."""

    decapsulation: Decapsulation


@dataclass(frozen=True, slots=True)
class RemoveDecapsulation:
    """Close a UDP port for GUE packets."""

    decapsulation: Decapsulation


@dataclass(frozen=True, slots=True)
class WriteSysctl:
    """Write a value below ``/proc/sys``; ``name`` is dotted (``net.ipv4.vs.conntrack``)."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ReplaceRules:
    """Replace all packet-filter rules of ours at once."""

    rules: Rules


@dataclass(frozen=True, slots=True)
class ConfigureInstances:
    """Tell keepalived which virtual routers there are, all of them, with their addresses."""

    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Allow:
    """Let this node hold the addresses of a group."""

    group: str


@dataclass(frozen=True, slots=True)
class Forbid:
    """Let this node hold none of a group's addresses; what it holds, another director takes over at once."""

    group: str


@dataclass(frozen=True, slots=True)
class StartDaemon:
    """Start a sync daemon of the kernel; refused with EEXIST when one of its role runs."""

    daemon: SyncDaemon


@dataclass(frozen=True, slots=True)
class StopDaemon:
    """Stop the sync daemon of a role; refused with ESRCH when none runs."""

    role: SyncRole


ServiceOperation = AddService | SetService | RemoveService
DestinationOperation = AddDestination | SetDestination | RemoveDestination
AddressOperation = AddAddress | RemoveAddress
LinkOperation = AddLink | RaiseLink | RemoveLink
DecapsulationOperation = AddDecapsulation | RemoveDecapsulation
VrrpOperation = ConfigureInstances | Allow | Forbid
DaemonOperation = StartDaemon | StopDaemon
Operation = (
    ServiceOperation
    | DestinationOperation
    | AddressOperation
    | LinkOperation
    | DecapsulationOperation
    | VrrpOperation
    | DaemonOperation
    | WriteSysctl
    | ReplaceRules
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one operation; ``errno`` 0 means done. ``message`` says what was refused and why."""

    operation: Operation
    errno: int = 0
    message: str = ""

    @property
    def ok(self) -> bool:
        """True when the kernel took it."""
        return self.errno == 0
