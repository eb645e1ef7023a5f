"""May this director group serve? Judged alike by the controller and by every agent, from the same objects.

What two groups cannot both have, the older one keeps. A refused group claims nothing, and serves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from ipaddress import ip_address

from virtualserver.api.base import milliseconds
from virtualserver.api.directorgroup import DirectorGroupSpec
from virtualserver.api.reasons import Reason
from virtualserver.plan.directors import age, members
from virtualserver.plan.findings import Finding
from virtualserver.plan.world import DirectorGroup, Node, World


def judge(world: World) -> dict[str, Finding]:
    """Return for every group, by its name, whether it is accepted, and why not."""
    accepted: list[DirectorGroup] = []
    findings: dict[str, Finding] = {}
    for group in sorted(world.groups.values(), key=age):
        refused = _refused(group, accepted, world.nodes)
        findings[group.name] = refused or _accepted(group, world.nodes)
        if refused is None:
            accepted.append(group)
    return findings


def sync_id(spec: DirectorGroupSpec) -> int:
    """Return the sync id that the group's mirrored connections carry."""
    return spec.mirroring.sync_id or spec.vrrp.router_id


def mirroring_link(spec: DirectorGroupSpec) -> str:
    """Return the link over which connections are mirrored."""
    return spec.mirroring.interface or spec.interface


def _accepted(group: DirectorGroup, nodes: Mapping[str, Node]) -> Finding:
    assert group.spec is not None
    directors = members(group, nodes)
    text = f"directors: {', '.join(directors) or 'none'}"
    unknown = [name for name in group.spec.vrrp.preferred_nodes if name not in directors]
    if unknown:
        text += f"; spec.vrrp.preferredNodes: not among them: {', '.join(unknown)}"
    return Finding(True, Reason.ACCEPTED, text)


def _refused(group: DirectorGroup, accepted: Iterable[DirectorGroup], nodes: Mapping[str, Node]) -> Finding | None:
    if group.spec is None:
        return Finding(False, Reason.INVALID_SPEC, group.problem)
    older = [one for one in accepted if one.spec is not None]
    return next((found for check in _CHECKS for one in older if (found := check(group, one, nodes))), None)


def _router_id_free(group: DirectorGroup, other: DirectorGroup, _: Mapping[str, Node]) -> Finding | None:
    assert group.spec is not None
    assert other.spec is not None
    if group.spec.vrrp.router_id != other.spec.vrrp.router_id:
        return None
    return _taken(Reason.ROUTER_ID_IN_USE, f"spec.vrrp.routerId: {group.spec.vrrp.router_id} is used by", other)


def _sync_id_free(group: DirectorGroup, other: DirectorGroup, _: Mapping[str, Node]) -> Finding | None:
    assert group.spec is not None
    assert other.spec is not None
    if sync_id(group.spec) != sync_id(other.spec):
        return None
    default = "" if group.spec.mirroring.sync_id else " (by default the router id)"
    return _taken(Reason.SYNC_ID_IN_USE, f"spec.mirroring.syncId: {sync_id(group.spec)}{default} is used by", other)


def _gateway_free(group: DirectorGroup, other: DirectorGroup, _: Mapping[str, Node]) -> Finding | None:
    """Two active directors would hold the address."""
    assert group.spec is not None
    taken = set(_gateways(other))
    for address in _gateways(group):
        if address in taken:
            return _taken(Reason.GATEWAY_IN_USE, f"spec.gateway.addresses: {address} is held by", other)
    return None


def _mirroring_agrees(group: DirectorGroup, other: DirectorGroup, nodes: Mapping[str, Node]) -> Finding | None:
    """A kernel has one pair of sync daemons and one set of their settings (``struct netns_ipvs``)."""
    assert group.spec is not None
    assert other.spec is not None
    shared = [name for name in members(group, nodes) if name in members(other, nodes)]
    if not shared:
        return None
    theirs = dict(_mirroring(other.spec))
    for field, value in _mirroring(group.spec):
        if theirs[field] != value:
            return Finding(
                False,
                Reason.MIRRORING_CONFLICT,
                f"spec.mirroring.{field}: {value} differs from {theirs[field]} of DirectorGroup {other.name}, which is "
                f"older and has {shared[0]} as a director, too: a node mirrors in one way only; "
                "choose the same, or other nodes",
            )
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


def _gateways(group: DirectorGroup) -> list[Hashable]:
    gateway = group.spec.gateway if group.spec else None
    return [ip_address(text) for text in gateway.addresses] if gateway else []


def _taken(reason: Reason, what: str, other: DirectorGroup) -> Finding:
    return Finding(False, reason, f"{what} DirectorGroup {other.name}, which is older; choose another")


_CHECKS: tuple[Callable[[DirectorGroup, DirectorGroup, Mapping[str, Node]], Finding | None], ...] = (
    _router_id_free,
    _sync_id_free,
    _gateway_free,
    _mirroring_agrees,
)
