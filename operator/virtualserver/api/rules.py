"""CEL rules of the API: what the API server itself refuses, in words that name the field and the way out.

Functions such as ``isIP`` and ``cidr`` are Kubernetes' own (API server 1.31 and later). Three habits:
a rule says true where another one already speaks (``!isIP(self) || ...``), so one mistake gives one message;
rules over pairs of list members look members up by ``indexOf`` instead of looping in loops, because every
write of a status runs them again; messages never repeat the field's path, the API server puts it in front.
"""

from __future__ import annotations

from typing import Any

from virtualserver.api.base import DURATION_PATTERN, rule

_PARSES = rule(
    "isIP(self)",
    "must be an IPv4 or IPv6 address, such as 198.18.0.100 or fd00:18::100 (no prefix, no port, no name)",
)


def _not(expression: str, message: str) -> dict[str, str]:
    return rule(f"!isIP(self) || !({expression})", message)


METADATA_ADDRESSES = {
    4: ("100.100.100.200", "168.63.129.16"),
    6: ("fd00:ec2::254", "fd20:ce::254"),
}
"""Where clouds serve credentials to machines, besides 169.254.0.0/16: Alibaba, Azure; Amazon, Google."""

_RANGES = "(ip(self).family() == 4 ? cidr('{0}').containsIP(ip(self)) : cidr('{1}').containsIP(ip(self)))"

_FORBIDDEN_TO_BOTH = [
    _PARSES,
    _not("ip(self).isUnspecified()", "must not be the unspecified address (0.0.0.0 or ::)"),
    _not("ip(self).isLoopback()", "must not be a loopback address (127.0.0.0/8 or ::1)"),
    _not(
        "ip(self).isLinkLocalUnicast()",
        "must not be a link-local or metadata address (169.254.0.0/16 or fe80::/10)",
    ),
    _not(_RANGES.format("224.0.0.0/4", "ff00::/8"), "must not be a multicast address (224.0.0.0/4 or ff00::/8)"),
    _not(
        "ip(self).family() == 4 && !ip(self).isUnspecified() && "
        "(cidr('240.0.0.0/4').containsIP(ip(self)) || cidr('0.0.0.0/8').containsIP(ip(self)))",
        "must not be a reserved or broadcast address (0.0.0.0/8 or 240.0.0.0/4)",
    ),
]
VIRTUAL_ADDRESS = _FORBIDDEN_TO_BOTH
REAL_ADDRESS = [
    *_FORBIDDEN_TO_BOTH,
    *(
        _not(
            f"ip(self).family() == {family} && ip(self) == ip('{address}')",
            f"must not be a metadata address ({address})",
        )
        for family, addresses in METADATA_ADDRESSES.items()
        for address in addresses
    ),
]

NETWORK = [
    rule("isCIDR(self)", "must be a network such as 198.18.1.0/24 or fd00:18:1::/64"),
    rule(
        "!isCIDR(self) || cidr(self) == cidr(self).masked()",
        "must begin with the first address of the network: 198.18.1.0/24, not 198.18.1.7/24",
    ),
]

NODE_SELECTOR = [
    rule(
        "self.all(k, k.size() <= 317 && "
        "k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
        "every key must be the name of a label, such as virtualserver.dev/director",
    ),
]


def duration_between(least: str, most: str) -> list[dict[str, str]]:
    """Return the rule of a duration that must lie between two others."""
    inside = f"duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"
    return [rule(f"!self.matches('{DURATION_PATTERN}') || ({inside})", f"must be from {least} to {most}")]


WHOLE_SECONDS = rule(
    f"!self.matches('{DURATION_PATTERN}') || duration(self).getMilliseconds() % 1000 == 0",
    "must be whole seconds: the kernel counts in seconds",
)

FORWARDING = [
    rule("self.mode == 'NAT' || !has(self.nat)", "may be set only with mode NAT; remove it", ".nat"),
]

SCHEDULER = [
    rule(
        "!has(self.flags) || self.flags.all(f, f.startsWith(self.name + '-'))",
        "must belong to the scheduler: sh has sh-fallback and sh-port, mh has mh-fallback and mh-port, "
        "the others have none",
        ".flags",
    ),
]

PERSISTENCE = [
    rule(
        "self.type != 'None' || !(has(self.timeout) || has(self.ipv4PrefixLength) || has(self.ipv6PrefixLength))",
        "timeout, ipv4PrefixLength and ipv6PrefixLength have a meaning only with type SourceAddress; "
        "set type: SourceAddress or remove them",
        ".type",
    ),
]

MONITOR = [
    rule(
        f"!self.timeout.matches('{DURATION_PATTERN}') || !self.interval.matches('{DURATION_PATTERN}') || "
        "duration(self.timeout) <= duration(self.interval)",
        "must not be longer than interval; raise interval or lower timeout",
        ".timeout",
        "'must not be longer than interval (' + self.timeout + ' > ' + self.interval + "
        "'); raise interval or lower timeout'",
    ),
    rule("self.type == 'TCP' || !has(self.tcp)", "may be set only with type TCP; remove it", ".tcp"),
]

REAL_SERVER = [
    rule(
        "has(self.address) != has(self.service)",
        "exactly one of address and service must be set",
        "",
        "has(self.address) ? 'exactly one of address and service must be set; remove one of them' : "
        "'exactly one of address and service must be set; add one of them'",
    ),
    rule(
        "!has(self.type) || has(self.address) == has(self.service) || has(self.address) == (self.type == 'Address')",
        "must agree with the member that is set: Address with address, Service with service",
        ".type",
    ),
    rule(
        "!has(self.service) || has(self.address) || !has(self.port)",
        "may be set only with address; for a Service use service.port",
        ".port",
    ),
    rule(
        "!has(self.service) || has(self.address) || self.adminState == 'Enabled'",
        "may be set only with address; to drain a Service set weight: 0",
        ".adminState",
    ),
]


def unique(keys: str, name: str, words: str, path: str) -> dict[str, str]:
    """Return the rule that the list at ``path`` has no member twice, with a message that names the first one.

    ``keys`` is the CEL list of what must differ, one per member and empty for members that do not count;
    ``name`` is the CEL string for the member with index ``i``. One-member lists stand in for variables,
    which these rules cannot have: ``[list].all(l, ...)`` computes the list once.
    """
    doubled = "x.size() > 0 && l.indexOf(x) != l.lastIndexOf(x)"
    index = f"[{keys}].map(l, l.lastIndexOf(l.filter(x, {doubled})[0]))"
    return rule(
        f"[{keys}].all(l, l.all(x, !({doubled})))",
        f"must not contain {words} twice",
        path,
        f"{index}.map(i, 'must not contain {words} twice: ' + {name})[0]",
    )


def canonical(address: str) -> str:
    """Return the CEL expression of an address in its one shortest form; what is no address stays as it is."""
    return f"(isIP({address}) ? string(ip({address})) : {address})"


_ADDRESSES = f"self.addresses.map(a, {canonical('a')})"
_PORT_NAMES = "self.ports.map(p, has(p.name) ? p.name : '')"
_REAL_SERVERS = (
    f"self.realServers.map(r, has(r.address) ? [dyn({canonical('r.address')}), dyn(has(r.port) ? r.port : 0)] : "
    "has(r.service) ? [dyn('Service'), dyn(r.service.name), dyn(has(r.service.port) ? r.service.port : 0)] : [])"
)
_REAL_SERVER_NAME = (
    "(has(self.realServers[i].address) ? self.realServers[i].address : "
    "'Service ' + self.realServers[i].service.name) + "
    "'; remove one, or give them different ports'"
)

UNIQUE_ADDRESSES = unique(_ADDRESSES, "self.addresses[i]", "an address", ".addresses")


def no_real_server(bad: str, message: str, known: str = "[]") -> dict[str, str]:
    """Return the rule that ``bad`` holds for no real server ``r``; ``known`` is what ``bad`` calls ``known``.

    The message begins with the first bad one, by its address or the name of its Service.
    """
    named = (
        "has(self.realServers[i].address) ? self.realServers[i].address : has(self.realServers[i].service) ? "
        "'Service ' + self.realServers[i].service.name : 'one'"
    )
    return rule(
        f"[{known}].all(known, !self.realServers.exists(r, {bad}))",
        f"a real server {message}",
        ".realServers",
        f"[{known}].map(known, self.realServers.map(r, {bad}).indexOf(true)).map(i, ({named}) + ' {message}')[0]",
    )


VIRTUAL_SERVER = [
    UNIQUE_ADDRESSES,
    unique(_PORT_NAMES, "self.ports[i].name", "a name", ".ports"),
    unique(_REAL_SERVERS, _REAL_SERVER_NAME, "a real server", ".realServers"),
    no_real_server(
        "self.ports.size() > 1 && has(r.port)",
        "must not have a port of its own when spec.ports has several entries; use spec.ports[].targetPort",
    ),
    no_real_server(
        "self.ports.size() > 1 && has(r.service) && has(r.service.port)",
        "must not have service.port when spec.ports has several entries; use spec.ports[].targetPort",
    ),
    no_real_server(
        "known.size() > 0 && !(0 in known) && has(r.address) && isIP(r.address) && !(ip(r.address).family() in known)",
        "is of another family (IPv4 or IPv6) than spec.addresses: NAT does not translate between families; "
        "add a virtual address of that family or remove it",
        "self.addresses.map(a, isIP(a) ? ip(a).family() : 0)",
    ),
    no_real_server(
        f"has(r.address) && {canonical('r.address')} in known",
        "is also one of spec.addresses: the virtual server would serve itself; remove it",
        _ADDRESSES,
    ),
]


def checked(validations: list[dict[str, str]]) -> dict[str, Any]:
    """Return the schema members of a value that must satisfy ``validations``."""
    return {"x-kubernetes-validations": validations}
