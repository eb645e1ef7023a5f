"""Who serves a virtual server's port: static addresses, and the endpoints of Services."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace

from virtualserver.api.addresses import forbidden
from virtualserver.api.enums import AdminState, ForwardingMode
from virtualserver.api.reasons import Reason
from virtualserver.api.virtualserver import Port, RealServer, ServiceReference, VirtualServerSpec
from virtualserver.model.addresses import read_address
from virtualserver.model.types import DestinationKey, IPAddress, address_order
from virtualserver.plan.directors import members
from virtualserver.plan.findings import Finding
from virtualserver.plan.world import Endpoint, Node, ObjectKey, VirtualServer, World


class Wish(enum.Enum):
    """What its owner, or Kubernetes, wants of a real server, before any monitor is asked."""

    SERVE = "serve"
    DRAIN = "drain"
    STAY_OUT = "stay out"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A real server of one port as the cluster describes it; ``identity`` is the same for all its ports.

    ``node`` names the node that hands packets on to it (a pod, unless the mode is NAT), "" when they go to it directly.
    ``message`` says ``reason`` in a sentence, where one helps.
    """

    key: DestinationKey
    identity: tuple[IPAddress, int]
    weight: int
    wish: Wish
    reason: Reason
    source: str
    node: str = ""
    message: str = ""


_BY_ADMIN_STATE = {
    AdminState.ENABLED: (Wish.SERVE, Reason.NOT_CHECKED_YET),
    AdminState.DRAINING: (Wish.DRAIN, Reason.ADMIN_DRAINING),
    AdminState.OFFLINE: (Wish.STAY_OUT, Reason.ADMIN_OFFLINE),
}


def resolve(world: World, server: VirtualServer) -> tuple[dict[Port, list[Candidate]], list[Finding]]:
    """Return the candidates of each port in canonical order, and what could not be resolved.

    An address that appears twice counts once: the first entry of the spec wins.
    """
    assert server.spec is not None
    directors = _fellow_directors(world, server.spec)
    by_port: dict[Port, list[Candidate]] = {}
    problems: list[Finding] = []
    for port in server.spec.ports:
        found: dict[DestinationKey, Candidate] = {}
        for entry in server.spec.real_servers:
            if entry.address is not None:
                candidates = [_static(entry, entry.address, port)]
            else:
                candidates, problem = _from_service(world, server, entry, port)
                if problem is not None and problem not in problems:
                    problems.append(problem)
            for candidate in candidates:
                found.setdefault(candidate.key, _off_directors(candidate, directors))
        by_port[port] = sorted(found.values(), key=lambda one: (address_order(one.key.address), one.key.port))
    return by_port, problems


def _fellow_directors(world: World, spec: VirtualServerSpec) -> list[Node]:
    """Return the directors that would get packets of this virtual server from each other, as they are."""
    group = world.groups.get(spec.director_group)
    if group is None or spec.forwarding.mode is ForwardingMode.NAT:
        return []
    names = members(group, world.nodes)
    return [world.nodes[name] for name in names] if len(names) > 1 else []


def _off_directors(candidate: Candidate, directors: list[Node]) -> Candidate:
    """Keep a real server out that is a director, or a pod on one: a standby has the virtual services, too.

    It would balance a packet that the active director sends it once more, instead of taking it.
    """
    for director in directors:
        pod = candidate.node == director.name
        if not pod and (candidate.node or candidate.key.address not in director.addresses):
            continue
        what, way_out = ("runs on", "keep its pods off directors") if pod else ("is", "name another machine")
        text = (
            f"it {what} {director.name}, a director, which balances packets instead of taking them; "
            f"{way_out}, or use mode NAT"
        )
        return replace(candidate, wish=Wish.STAY_OUT, reason=Reason.ENDPOINT_ON_DIRECTOR, message=text)
    return candidate


def _static(entry: RealServer, text: str, port: Port) -> Candidate:
    address = read_address(text)
    number = entry.port or port.target_port or port.port
    wish, reason = _BY_ADMIN_STATE[entry.admin_state]
    return Candidate(DestinationKey(address, number), (address, entry.port or 0), entry.weight, wish, reason, "Address")


def _from_service(
    world: World, server: VirtualServer, entry: RealServer, port: Port
) -> tuple[list[Candidate], Finding | None]:
    reference, namespace = entry.service, server.key.namespace
    if reference is None or server.spec is None:
        return [], None
    key = ObjectKey(namespace, reference.name)
    service = world.services.get(key)
    if service is None:
        return [], Finding(
            False,
            Reason.SERVICE_NOT_FOUND,
            f"spec.realServers: Service {reference.name!r} does not exist in {namespace}",
        )
    wanted = reference.port or port.target_port or port.port
    names = [one.name for one in service.ports if one.port == wanted and one.protocol == port.protocol]
    if not names:
        has = ", ".join(f"{one.port}/{one.protocol}" for one in service.ports) or "none"
        return [], Finding(
            False,
            Reason.SERVICE_PORT_NOT_FOUND,
            f"spec.realServers: Service {reference.name!r} has no port {wanted}/{port.protocol} (it has: {has})",
        )
    found = _endpoints(world, key, reference, entry.weight, (names[0], port.protocol))
    if server.spec.forwarding.mode is ForwardingMode.NAT:
        return [replace(candidate, node="") for candidate in found], None
    return [_through_node(world, candidate) for candidate in found], None


def _through_node(world: World, pod: Candidate) -> Candidate:
    """Return a pod that its node must hand packets on to; one whose node is not known gets none."""
    known = world.nodes.get(pod.node)
    if known is None or not known.internal:
        return replace(pod, wish=Wish.STAY_OUT, reason=Reason.ENDPOINT_WITHOUT_NODE)
    return pod


def _endpoints(
    world: World, service: ObjectKey, reference: ServiceReference, weight: int, port: tuple[str, str]
) -> Iterator[Candidate]:
    pairs = [
        (endpoint, piece.ports[port])
        for piece in world.slices_of(service)
        if port in piece.ports
        for endpoint in piece.endpoints
    ]
    nobody_ready = not any(endpoint.ready for endpoint, _ in pairs)
    for endpoint, number in pairs:
        wish, reason = _wish(endpoint, nobody_ready)
        yield Candidate(
            DestinationKey(endpoint.address, number),
            (endpoint.address, 0),
            weight,
            wish,
            reason,
            f"Service/{reference.name}",
            endpoint.node,
        )


def _wish(endpoint: Endpoint, nobody_ready: bool) -> tuple[Wish, Reason]:
    """Ready ones serve; terminating ones finish what they have, and serve on while nobody else does.

    The last part is what kube-proxy does (KEP-1669): better a terminating pod than none.
    """
    if forbidden(endpoint.address):
        return Wish.STAY_OUT, Reason.ENDPOINT_FORBIDDEN
    if endpoint.ready:
        return Wish.SERVE, Reason.NOT_CHECKED_YET
    if endpoint.terminating:
        if nobody_ready and endpoint.serving:
            return Wish.SERVE, Reason.ENDPOINT_TERMINATING
        return Wish.DRAIN, Reason.ENDPOINT_TERMINATING
    return Wish.STAY_OUT, Reason.ENDPOINT_NOT_READY
