"""Rules between the members of lists: nothing twice, and addresses and real servers that fit each other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from virtualserver.api.addresses import parsed, shortest
from virtualserver.api.enums import ForwardingMode, TransportProtocol
from virtualserver.api.rule import Rule

if TYPE_CHECKING:
    from virtualserver.api.virtualserver import RealServer, VirtualServerSpec

Known = Any
"""What a rule computes once for all real servers."""


def _canonical(address: str) -> str:
    """Return the CEL expression of an address in its one shortest form; what is no address stays as it is."""
    return f"(isIP({address}) ? string(ip({address})) : {address})"


def unique(
    cel: str,
    keys: Callable[[Any], Sequence[Hashable]],
    words: str,
    path: str,
    names: tuple[str, Callable[[Any, int], str]],
) -> Rule:
    """Return the rule that the list at ``path`` has no member twice, with a message that names the first one.

    ``cel`` is the CEL list of what must differ, ``keys`` the same in Python: one for each member, empty for members
    that do not count. ``names`` is the name of the member with index ``i``, in both spellings. One-member lists
    stand in for variables, which these rules cannot have: ``[list].all(l, ...)`` computes the list once.
    """
    doubled = "x.size() > 0 && l.indexOf(x) != l.lastIndexOf(x)"
    index = f"[{cel}].map(l, l.lastIndexOf(l.filter(x, {doubled})[0]))"
    message = f"must not contain {words} twice"

    def twice(value: Any) -> int | None:
        """Index of the last copy of the first member that is there twice."""
        listed = keys(value)
        copies = {key: index for index, key in enumerate(listed)}
        return next((copies[key] for index, key in enumerate(listed) if key and copies[key] != index), None)

    return Rule(
        f"[{cel}].all(l, l.all(x, !({doubled})))",
        message,
        lambda value: twice(value) is None,
        path,
        f"{index}.map(i, '{message}: ' + {names[0]})[0]",
        lambda value: f"{message}: {names[1](value, twice(value) or 0)}",
    )


def no_real_server(
    cel: str,
    bad: Callable[[VirtualServerSpec, RealServer, Known], bool],
    message: str,
    known: tuple[str, Callable[[VirtualServerSpec], Known]] = ("[]", lambda _: None),
) -> Rule:
    """Return the rule that ``cel`` and ``bad`` hold for no real server ``r``.

    ``known`` is what ``cel`` calls ``known``. The message begins with the first bad one, by its address or the name
    of its Service.
    """
    named = (
        "has(self.realServers[i].address) ? self.realServers[i].address : has(self.realServers[i].service) ? "
        "'Service ' + self.realServers[i].service.name : 'one'"
    )

    def first(spec: VirtualServerSpec) -> RealServer | None:
        facts = known[1](spec)
        return next((one for one in spec.real_servers if bad(spec, one, facts)), None)

    return Rule(
        f"[{known[0]}].all(known, !self.realServers.exists(r, {cel}))",
        f"a real server {message}",
        lambda spec: first(spec) is None,
        ".realServers",
        f"[{known[0]}].map(known, self.realServers.map(r, {cel}).indexOf(true)).map(i, ({named}) + ' {message}')[0]",
        lambda spec: f"{_name(first(spec))} {message}",
    )


def _name(server: RealServer | None) -> str:
    if server is None or server.service is None:
        return str(server and server.address)
    return f"Service {server.service.name}"


def _key(server: RealServer, usual: int) -> Hashable:
    if server.service is not None:
        return "Service", server.service.name, server.service.port or usual
    return shortest(server.address or ""), server.port or usual


def _usual_port(spec: VirtualServerSpec) -> int:
    """Return the port of a real server that names none; 0 stands for those of several ports."""
    return (spec.ports[0].target_port or spec.ports[0].port) if len(spec.ports) == 1 else 0


def _versions(spec: VirtualServerSpec) -> set[int]:
    return {address.version for address in map(parsed, spec.addresses) if address is not None}


def _served_versions(spec: VirtualServerSpec) -> set[int]:
    """Families of the real servers; those of a Service are not known, so it counts as both."""
    if any(one.service for one in spec.real_servers):
        return {4, 6}
    return {address.version for one in spec.real_servers if (address := parsed(one.address or ""))}


def _version(server: RealServer) -> int | None:
    address = parsed(server.address or "")
    return address.version if address is not None else None


def _unserved(spec: VirtualServerSpec) -> str:
    """Return the first virtual address whose family no real server has; "" when there is none."""
    if spec.forwarding.mode is ForwardingMode.TUNNEL:
        return ""
    served = _served_versions(spec)
    return next((text for text in spec.addresses if (one := parsed(text)) and one.version not in served), "")


def mixed(spec: VirtualServerSpec) -> bool:
    """Return whether a real server given by address gets packets of the other family (in a tunnel): see ``usable``.

    A family of addresses without a real server of its own is carried over the other.
    """
    if spec.forwarding.mode is not ForwardingMode.TUNNEL:
        return False
    return any(
        address is not None and address.version not in _served_versions(spec) for address in map(parsed, spec.addresses)
    )


def _unchanged(spec: VirtualServerSpec) -> bool:
    """Return whether packets arrive at real servers as the client sent them."""
    return spec.forwarding.mode is not ForwardingMode.NAT


def _tcp_beside(spec: VirtualServerSpec) -> bool:
    """Return whether there is a TCP port with the number of every port."""
    listening = {port.port for port in spec.ports if port.protocol is TransportProtocol.TCP}
    return all(port.port in listening for port in spec.ports)


_USUAL_PORT = (
    "(self.ports.size() != 1 ? 0 : has(self.ports[0].targetPort) ? self.ports[0].targetPort : self.ports[0].port)"
)
_ADDRESSES = f"self.addresses.map(a, {_canonical('a')})"
_FAMILIES = "self.addresses.map(a, isIP(a) ? ip(a).family() : 0)"
_SERVED = "self.realServers.map(r, has(r.address) && isIP(r.address) ? ip(r.address).family() : 0)"
_OTHER_FAMILY = "only mode Tunnel carries one family over the other; "
_TUNNEL = "self.forwarding.mode == 'Tunnel'"
_AS_THE_CLIENT_SENT_IT = "in modes Tunnel and DirectRouting the packet arrives as the client sent it; "
_UNSERVED = "has no real server of its family (IPv4 or IPv6): " + _OTHER_FAMILY + "add one or remove the address"

_MIXED = (
    "must not be set when real servers are of another family (IPv4 or IPv6) than an address: a kernel that mirrors "
    "refuses those; add real servers of its family or remove one of the two"
)

UNIQUE_ADDRESSES = unique(
    _ADDRESSES,
    lambda value: [shortest(address) for address in value.addresses],
    "an address",
    ".addresses",
    ("self.addresses[i]", lambda value, index: str(value.addresses[index])),
)

MIRRORING = (
    Rule(
        "!self.connectionMirroring || !has(self.forwarding.nat) || !self.forwarding.nat.sourceTranslation",
        "must not be set with forwarding.nat.sourceTranslation: the standby would have another source address, and "
        "every connection would end; remove one of the two",
        lambda spec: (
            not (
                spec.connection_mirroring and spec.forwarding.nat is not None and spec.forwarding.nat.source_translation
            )
        ),
        ".connectionMirroring",
    ),
    Rule(
        "!self.connectionMirroring || !self.scheduler.onePacket",
        "must not be set with scheduler.onePacket, which remembers no connection; remove one of the two",
        lambda spec: not (spec.connection_mirroring and spec.scheduler.one_packet),
        ".connectionMirroring",
    ),
    Rule(
        f"!self.connectionMirroring || [{_FAMILIES}].all(f, !(4 in f) || [{_SERVED}].all(s, 0 in s || 4 in s)) && "
        f"[{_FAMILIES}].all(f, !(6 in f) || [{_SERVED}].all(s, 0 in s || 6 in s))",
        _MIXED,
        lambda spec: not (spec.connection_mirroring and mixed(spec)),
        ".connectionMirroring",
    ),
)

VIRTUAL_SERVER = (
    *MIRRORING,
    UNIQUE_ADDRESSES,
    unique(
        "self.ports.map(p, has(p.name) ? p.name : '')",
        lambda spec: [port.name or "" for port in spec.ports],
        "a name",
        ".ports",
        ("self.ports[i].name", lambda spec, index: str(spec.ports[index].name)),
    ),
    unique(
        "self.realServers.map(r, "
        f"has(r.address) ? [dyn({_canonical('r.address')}), dyn(has(r.port) ? r.port : {_USUAL_PORT})] : "
        "has(r.service) ? "
        f"[dyn('Service'), dyn(r.service.name), dyn(has(r.service.port) ? r.service.port : {_USUAL_PORT})] : [])",
        lambda spec: [_key(one, _usual_port(spec)) for one in spec.real_servers],
        "a real server",
        ".realServers",
        (
            "(has(self.realServers[i].address) ? self.realServers[i].address : "
            "'Service ' + self.realServers[i].service.name) + '; remove one, or give them different ports'",
            lambda spec, index: f"{_name(spec.real_servers[index])}; remove one, or give them different ports",
        ),
    ),
    no_real_server(
        "self.ports.size() > 1 && has(r.port)",
        lambda spec, one, _: len(spec.ports) > 1 and one.port is not None,
        "must not have a port of its own when spec.ports has several entries; use spec.ports[].targetPort",
    ),
    no_real_server(
        "self.ports.size() > 1 && has(r.service) && has(r.service.port)",
        lambda spec, one, _: len(spec.ports) > 1 and one.service is not None and one.service.port is not None,
        "must not have service.port when spec.ports has several entries; use spec.ports[].targetPort",
    ),
    no_real_server(
        f"!({_TUNNEL}) && "
        "known.size() > 0 && !(0 in known) && has(r.address) && isIP(r.address) && !(ip(r.address).family() in known)",
        lambda spec, one, versions: (
            spec.forwarding.mode is not ForwardingMode.TUNNEL
            and one.address is not None
            and _version(one) not in versions
        ),
        f"is of another family (IPv4 or IPv6) than spec.addresses: {_OTHER_FAMILY}"
        "add a virtual address of that family or remove it",
        (_FAMILIES, _versions),
    ),
    Rule(
        f"{_TUNNEL} || "
        f"[{_FAMILIES}].all(f, !(4 in f) || !(6 in f) || [{_SERVED}].all(s, 0 in s || (4 in s && 6 in s)))",
        f"an address {_UNSERVED}",
        lambda spec: not _unserved(spec),
        ".addresses",
        f"[{_SERVED}].map(s, self.addresses.filter(a, isIP(a) && !(ip(a).family() in s))[0] + ' {_UNSERVED}')[0]",
        lambda spec: f"{_unserved(spec)} {_UNSERVED}",
    ),
    no_real_server(
        "self.forwarding.mode != 'NAT' && has(r.address) && has(r.port) && self.ports.exists(p, p.port != r.port)",
        lambda spec, one, _: _unchanged(spec) and one.port is not None and any(p.port != one.port for p in spec.ports),
        f"must listen on the virtual port: {_AS_THE_CLIENT_SENT_IT}remove its port, or use NAT",
    ),
    Rule(
        "self.forwarding.mode == 'NAT' || !self.realServers.exists(r, has(r.address)) || "
        "self.ports.all(p, !has(p.targetPort) || p.targetPort == p.port)",
        f"targetPort must be the same as port for real servers given by address: {_AS_THE_CLIENT_SENT_IT}"
        "remove targetPort, or use NAT",
        lambda spec: (
            not _unchanged(spec)
            or all(one.address is None for one in spec.real_servers)
            or all(port.target_port in (None, port.port) for port in spec.ports)
        ),
        ".ports",
    ),
    Rule(
        "!self.scheduler.onePacket || self.ports.all(p, p.protocol == 'UDP')",
        "onePacket may be set only when all of spec.ports are UDP; remove it",
        lambda spec: (
            not spec.scheduler.one_packet or all(port.protocol is TransportProtocol.UDP for port in spec.ports)
        ),
        ".scheduler",
    ),
    Rule(
        "!self.scheduler.onePacket || self.forwarding.mode != 'NAT'",
        "onePacket needs mode Tunnel or DirectRouting: with NAT nobody remembers whose the answer is",
        lambda spec: not spec.scheduler.one_packet or _unchanged(spec),
        ".scheduler",
    ),
    Rule(
        "self.ports.all(p, p.protocol == 'TCP' || self.ports.exists(q, q.protocol == 'TCP' && q.port == p.port)) || "
        "self.monitors.all(m, has(m.tcp) && has(m.tcp.port))",
        "must name a port that answers TCP (tcp.port) when a port of spec.ports is UDP or SCTP only; "
        "or set monitors: [] to use all real servers unchecked",
        lambda spec: _tcp_beside(spec) or all(one.tcp and one.tcp.port for one in spec.monitors),
        ".monitors",
    ),
    no_real_server(
        f"has(r.address) && {_canonical('r.address')} in known",
        lambda _, one, addresses: one.address is not None and shortest(one.address) in addresses,
        "is also one of spec.addresses: the virtual server would serve itself; remove it",
        (_ADDRESSES, lambda spec: {shortest(address) for address in spec.addresses}),
    ),
)
