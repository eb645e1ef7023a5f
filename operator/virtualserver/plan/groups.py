"""May this director group serve? Judged alike by the controller and by every agent, from the same objects.

What two groups cannot both have, the older one keeps. A refused group claims nothing, and serves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from virtualserver.api.base import milliseconds
from virtualserver.api.directorgroup import DirectorGroupSpec
from virtualserver.api.reasons import Reason
from virtualserver.model.types import IPAddress
from virtualserver.plan.directors import age, members
from virtualserver.plan.findings import Finding
from virtualserver.plan.world import DirectorGroup, World


@dataclass(frozen=True, slots=True)
class Claim:
    """A group that can be read, with its directors."""

    name: str
    spec: DirectorGroupSpec
    directors: tuple[str, ...]


def judge(world: World) -> dict[str, Finding]:
    """Return for every group, by its name, whether it is accepted, and why not."""
    accepted: list[Claim] = []
    findings: dict[str, Finding] = {}
    owners = {address: node.name for node in world.nodes.values() for address in node.addresses}
    for group in sorted(world.groups.values(), key=age):
        if group.spec is None:
            findings[group.name] = Finding(False, Reason.INVALID_SPEC, group.problem)
            continue
        mine = Claim(group.name, group.spec, tuple(members(group, world.nodes)))
        refused = next((found for check in _CHECKS for other in accepted if (found := check(mine, other))), None)
        findings[group.name] = refused or _accepted(mine, owners)
        if refused is None:
            accepted.append(mine)
    return findings


def serving(world: World) -> Mapping[str, DirectorGroup]:
    """Return the groups that are accepted, by name.

    The last answer is remembered: it is asked for several times for each group of the same world, and to judge all of a
    hundred groups each time takes seconds.
    """
    global _last_served
    last = _last_served
    if last is None or last[0] is not world:
        findings = judge(world)
        last = _last_served = (world, {name: group for name, group in world.groups.items() if findings[name].ok})
    return last[1]


_last_served: tuple[World, Mapping[str, DirectorGroup]] | None = None


def sync_id(spec: DirectorGroupSpec) -> int:
    """Return the sync id that the group's mirrored connections carry."""
    return spec.mirroring.sync_id or spec.vrrp.router_id


def mirroring_link(spec: DirectorGroupSpec) -> str:
    """Return the link over which connections are mirrored."""
    return spec.mirroring.interface or spec.interface


def _accepted(mine: Claim, owners: Mapping[IPAddress, str]) -> Finding:
    """Say as well what is odd, but no reason to stop what may run."""
    text = f"directors: {', '.join(mine.directors) or 'none'}"
    unknown = [name for name in mine.spec.vrrp.preferred_nodes if name not in mine.directors]
    if unknown:
        text += f"; spec.vrrp.preferredNodes: not among them: {', '.join(unknown)}"
    if taken := next((one for one in _gateways(mine.spec) if one in owners), None):
        text += f"; spec.gateway.addresses: {taken} is an address of node {owners[taken]}, which goes on answering"
    return Finding(True, Reason.ACCEPTED, text)


def _router_id_free(mine: Claim, other: Claim) -> Finding | None:
    """Groups of different nodes may still be on one segment."""
    if mine.spec.vrrp.router_id != other.spec.vrrp.router_id:
        return None
    return _taken(Reason.ROUTER_ID_IN_USE, f"spec.vrrp.routerId: {mine.spec.vrrp.router_id} is used by", other)


def _sync_id_free(mine: Claim, other: Claim) -> Finding | None:
    if sync_id(mine.spec) != sync_id(other.spec):
        return None
    default = "" if mine.spec.mirroring.sync_id else " (by default the router id)"
    return _taken(Reason.SYNC_ID_IN_USE, f"spec.mirroring.syncId: {sync_id(mine.spec)}{default} is used by", other)


def _gateway_free(mine: Claim, other: Claim) -> Finding | None:
    """Two active directors would hold the address."""
    taken = set(_gateways(other.spec))
    found = next((address for address in _gateways(mine.spec) if address in taken), None)
    if found is None:
        return None
    return _taken(Reason.GATEWAY_IN_USE, f"spec.gateway.addresses: {found} is held by", other)


def _mirroring_agrees(mine: Claim, other: Claim) -> Finding | None:
    """A kernel has one pair of sync daemons and one set of their settings (``struct netns_ipvs``)."""
    shared = [name for name in mine.directors if name in other.directors]
    theirs = dict(_mirroring(other.spec))
    for field, value in _mirroring(mine.spec):
        if shared and theirs[field] != value:
            text = (
                f"spec.mirroring.{field}: {value} differs from {theirs[field]} of DirectorGroup {other.name}, which is "
                f"older and has {shared[0]} as a director, too: a node mirrors in one way only; "
                "choose the same, or other nodes"
            )
            return Finding(False, Reason.MIRRORING_CONFLICT, text)
    return None


def _mirroring(spec: DirectorGroupSpec) -> Iterator[tuple[str, Hashable]]:
    """Yield the settings that a kernel has once, in one spelling each."""
    mirroring = spec.mirroring
    yield "interface", mirroring_link(spec)
    yield "group", ip_address(mirroring.group)
    yield "port", mirroring.port
    yield "threshold", mirroring.threshold
    yield "period", mirroring.period
    yield "refreshPeriod", f"{milliseconds(mirroring.refresh_period) // 1000}s"
    yield "retries", mirroring.retries


def _gateways(spec: DirectorGroupSpec) -> list[IPAddress]:
    return [ip_address(text) for text in spec.gateway.addresses] if spec.gateway else []


def _taken(reason: Reason, what: str, other: Claim) -> Finding:
    return Finding(False, reason, f"{what} DirectorGroup {other.name}, which is older; choose another")


_CHECKS: tuple[Callable[[Claim, Claim], Finding | None], ...] = (
    _router_id_free,
    _sync_id_free,
    _gateway_free,
    _mirroring_agrees,
)
