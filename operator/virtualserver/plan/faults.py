"""What is wrong on the way of packets, judged from what a node saw: one small function for each kind of fault.

Each message names the real server, the link and the value, and the way out. Equal facts give equal words in the same
order, so a fault that lasts is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network

from virtualserver.api.enums import ForwardingMode
from virtualserver.api.reasons import Reason
from virtualserver.model.facts import Answer, Facts, LinkFact, Ping, Route
from virtualserver.model.types import IPAddress
from virtualserver.plan.forwarding import bypassable, direct, tunnel
from virtualserver.plan.preflight import Case, needed, sizes
from virtualserver.plan.tunnels import overhead


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong for a virtual server; ``real_server`` is "" when it is about none."""

    reason: Reason
    real_server: str
    message: str


def faults(case: Case, facts: Facts) -> tuple[Fault, ...]:
    """Return all that is wrong, sorted; what follows from another fault is left out."""
    checks = (_OF_DIRECTOR if case.director else ()) + (_OF_NODE if case.local else ())
    found = {fault for check in checks for fault in check(case, facts)}
    explained = {fault.real_server for fault in found if fault.reason in _CAUSES}
    return tuple(sorted(one for one in found if one.reason not in _EFFECTS or one.real_server not in explained))


_CAUSES = frozenset({Reason.NO_ROUTE_TO_REAL_SERVER, Reason.NOT_ON_LINK, Reason.TUNNEL_SOURCE_UNKNOWN})
_EFFECTS = frozenset({Reason.DECAPSULATION_MISSING, Reason.ADDRESS_NOT_HELD, Reason.MTU_TOO_SMALL})


def confirmed(now: Iterable[Fault], before: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return the faults that two looks in a row saw: an answer may be lost, a node may still be programming."""
    return tuple(sorted(set(now) & set(before)))


def _link_down(case: Case, facts: Facts) -> Iterator[Fault]:
    gateway = case.group.gateway
    links = {case.group.interface} | ({gateway.interface} if gateway and bypassable(case.spec.forwarding) else set())
    for name in sorted(links):
        known = facts.links.get(name)
        if known is not None and not known.carrier:
            text = f"link {name} is down or has nothing at its other end"
            yield Fault(Reason.LINK_DOWN, "", f"{text}: set it up (ip link set {name} up), look at the cable")


def _answered_twice(case: Case, facts: Facts) -> Iterator[Fault]:
    held = {*case.spec.addresses, *(case.group.gateway.addresses if case.group.gateway else ())}
    for address, hardware in facts.twice.items():
        if str(address) in held:
            what = "ARP" if address.version == 4 else "neighbour discovery"
            yield Fault(
                Reason.ADDRESS_ANSWERED_TWICE,
                "",
                f"{hardware} answers {what} for {address} as well: find the host with this hardware address and take "
                f"{address} off its link; a real server holds it on a dummy link with arp_ignore=1, arp_announce=2",
            )


def _no_way_to(case: Case, facts: Facts) -> Iterator[Fault]:
    for receiver in case.receivers:
        route = facts.routes.get(receiver)
        if route is not None and route.refused:
            text = f"no route to real server {receiver}: {route.refused}; add one (ip route add {receiver} ...)"
            yield Fault(Reason.NO_ROUTE_TO_REAL_SERVER, str(receiver), text)


def _not_on_link(case: Case, facts: Facts) -> Iterator[Fault]:
    if case.mode is not ForwardingMode.DIRECT_ROUTING:
        return
    for receiver, route in _routes(case, facts):
        if route.gateway is not None:
            yield Fault(
                Reason.NOT_ON_LINK,
                str(receiver),
                f"DirectRouting needs real server {receiver} on a link of this director, but its route over "
                f"{route.link} leads through {route.gateway}: use mode Tunnel, or join the real server's network",
            )


def _unknown_source(case: Case, facts: Facts) -> Iterator[Fault]:
    if case.mode is not ForwardingMode.TUNNEL:
        return
    for receiver, route in _routes(case, facts):
        if route.source is not None and route.source not in case.sources:
            yield Fault(
                Reason.TUNNEL_SOURCE_UNKNOWN,
                str(receiver),
                f"packets to real server {receiver} leave {route.link} wrapped from {route.source}, which real "
                f"servers refuse: add it to tunnelSources of the DirectorGroup, or change the route's src",
            )


def _small_mtu(case: Case, facts: Facts) -> Iterator[Fault]:
    if not direct(case.spec.forwarding):
        return
    clients = facts.links.get(case.group.interface)
    for receiver, route in _routes(case, facts):
        link = facts.links.get(route.link)
        if link is None or clients is None:
            continue
        size = needed(case, receiver, link.mtu, clients.mtu)
        if route.mtu < size:
            text = f"the way over {route.link} takes {route.mtu} bytes towards real server {receiver}, needed are "
        elif size in sizes(case, receiver, facts.links) and _answers_small_only(receiver, size, facts):
            text = (
                f"real server {receiver} answers small packets over {route.link}, but none of {size} bytes; needed are "
            )
        else:
            continue
        out = "raise the MTU of every link on the way, or let real servers announce shorter segments"
        yield Fault(Reason.MTU_TOO_SMALL, str(receiver), f"{text}{_arithmetic(case, receiver, size)}: {out}")


def _answers_small_only(receiver: IPAddress, size: int, facts: Facts) -> bool:
    return Ping(receiver) in facts.pings and Ping(receiver, size) not in facts.pings


def _arithmetic(case: Case, receiver: IPAddress, size: int) -> str:
    if case.mode is not ForwardingMode.TUNNEL:
        return f"{size}, the MTU of {case.group.interface}"
    wrapping = overhead(tunnel(case.spec.forwarding), receiver.version)
    return f"{size} = {size - wrapping} of a client + {wrapping} of the tunnel"


def _refuses_tunnel(case: Case, facts: Facts) -> Iterator[Fault]:
    for trial, answer in facts.trials.items():
        if trial.tunnel is None or (trial.virtual, trial.receiver) not in case.pairs:
            continue
        if trial.tunnel != tunnel(case.spec.forwarding) or answer is Answer.ANSWERED:
            continue
        kind = trial.tunnel.type.name + (f" (UDP port {trial.tunnel.port})" if trial.tunnel.port else "")
        if answer is Answer.REFUSED:
            text = f"real server {trial.receiver} refuses {kind} packets (ICMP unreachable): load the module, make the "
            text += f"tunnel device and hold {trial.virtual} there"
        elif Ping(trial.receiver) in facts.pings:
            text = (
                f"real server {trial.receiver} answers a ping, but not one for {trial.virtual} wrapped in {kind}: it "
            )
            text += (
                f"needs a tunnel device that is up, {trial.virtual} on it or on a dummy link, rp_filter=0 or 2 there"
            )
        else:
            continue  # it answers nothing at all: that is what monitors are for
        yield Fault(Reason.DECAPSULATION_MISSING, str(trial.receiver), text)


def _not_held(case: Case, facts: Facts) -> Iterator[Fault]:
    for trial, answer in facts.trials.items():
        if trial.tunnel is not None or case.mode is not ForwardingMode.DIRECT_ROUTING or answer is Answer.ANSWERED:
            continue
        if (trial.virtual, trial.receiver) in case.pairs and Ping(trial.receiver) in facts.pings:
            yield Fault(
                Reason.ADDRESS_NOT_HELD,
                str(trial.receiver),
                f"real server {trial.receiver} answers a ping, but not one for {trial.virtual} sent to its hardware "
                f"address: put {trial.virtual} on a dummy link there, with arp_ignore=1 and arp_announce=2",
            )


def _bypassed(case: Case, facts: Facts) -> Iterator[Fault]:
    """NAT: answers that do not come back through the director reach clients with an address they never asked."""
    if not bypassable(case.spec.forwarding):
        return
    out = "turn on spec.forwarding.nat.sourceTranslation, or move the real server to a network behind the director"
    if case.group.client_networks:
        near = {ip_network(text, strict=False) for text in case.group.client_networks}
    else:
        own = (one for one in case.own if one.link == case.group.interface)
        near = {ip_interface(f"{one.address}/{one.prefix}").network for one in own}
    for receiver in case.receivers:
        if network := next((str(net) for net in sorted(near, key=str) if receiver in net), ""):
            text = f"real server {receiver} lies in the clients' network {network} and answers them past the director"
            yield Fault(Reason.REPLIES_BYPASS_DIRECTOR, str(receiver), f"{text}: {out}")
    for virtual, receiver in case.pairs:
        near_by, from_afar = facts.pings.get(Ping(receiver)), facts.pings.get(Ping(receiver, source=virtual))
        if near_by and from_afar and near_by != from_afar:
            text = f"real server {receiver} answers {virtual} over {from_afar}, though it is reached over {near_by}"
            out = "so it answers clients past the director; its default gateway must be the director"
            yield Fault(Reason.REPLIES_BYPASS_DIRECTOR, str(receiver), f"{text}: {out}")


def _no_way_back(case: Case, facts: Facts) -> Iterator[Fault]:
    """NAT: a real server that answers its neighbours, but nobody beyond, lacks a route through the director."""
    if not (bypassable(case.spec.forwarding) and case.active):
        return
    gateways = case.group.gateway.addresses if case.group.gateway else []
    for virtual, receiver in case.pairs:
        if Ping(receiver) in facts.pings and Ping(receiver, source=virtual) not in facts.pings:
            way = ", ".join(gateways) or "an address of the director"
            yield Fault(
                Reason.NO_ROUTE_BACK,
                str(receiver),
                f"real server {receiver} answers this director, but not {virtual}: it has no route back to the "
                f"clients' network; its default gateway must be {way}",
            )


def _no_route_to_clients(case: Case, facts: Facts) -> Iterator[Fault]:
    server = str(case.local[0])
    for client, route in _to_clients(case, facts):
        if route.refused:
            text = (
                f"real server {server} has no route back to clients such as {client}: {route.refused}; add a route to "
            )
            yield Fault(Reason.NO_ROUTE_BACK, server, text + "their network, or a default gateway")


def _director_without_route(case: Case, facts: Facts) -> Iterator[Fault]:
    """NAT: answers pass the director on their way to clients."""
    for client, route in _to_clients(case, facts):
        if route.refused and case.mode is ForwardingMode.NAT:
            text = (
                f"the director has no route to clients such as {client}: {route.refused}; add a route to their network"
            )
            yield Fault(Reason.NO_ROUTE_BACK, "", text)


def _strict_at_director(case: Case, facts: Facts) -> Iterator[Fault]:
    yield from _strict(case, facts, {case.group.interface}, "")


def _strict_at_node(case: Case, facts: Facts) -> Iterator[Fault]:
    if case.mode is ForwardingMode.TUNNEL:
        links = set(case.own_links)
    else:
        links = {facts.routes[one].link for one in case.sources if one in facts.routes}
    yield from _strict(case, facts, links, str(case.local[0]))


def _strict(case: Case, facts: Facts, arrival: Iterable[str], server: str) -> Iterator[Fault]:
    for name in sorted(arrival):
        link = facts.links.get(name)
        if link is None or not link.strict:
            continue
        for client, route in _to_clients(case, facts):
            if client.version == 4 and not route.refused and route.link != name:
                yield Fault(
                    Reason.REVERSE_PATH_FILTER,
                    server,
                    f"{name} drops clients such as {client}: its reverse-path filter is strict ({_filter(name, link)}) "
                    f"and the route back leads over {route.link}; set net.ipv4.conf.{name}.rp_filter=2, or change "
                    "the route",
                )


def _filter(name: str, link: LinkFact) -> str:
    return f"net.ipv4.conf.all.rp_filter={link.rp_filter_all}, net.ipv4.conf.{name}.rp_filter={link.rp_filter}"


def _routes(case: Case, facts: Facts) -> Iterator[tuple[IPAddress, Route]]:
    for receiver in case.receivers:
        route = facts.routes.get(receiver)
        if route is not None and not route.refused:
            yield receiver, route


def _to_clients(case: Case, facts: Facts) -> Iterator[tuple[IPAddress, Route]]:
    for client in case.clients:
        if client in facts.routes:
            yield client, facts.routes[client]


_Check = Callable[[Case, Facts], Iterator[Fault]]
_OF_DIRECTOR: tuple[_Check, ...] = (
    _link_down,
    _answered_twice,
    _no_way_to,
    _not_on_link,
    _unknown_source,
    _small_mtu,
    _refuses_tunnel,
    _not_held,
    _bypassed,
    _no_way_back,
    _director_without_route,
    _strict_at_director,
)
_OF_NODE: tuple[_Check, ...] = (_no_route_to_clients, _strict_at_node)
