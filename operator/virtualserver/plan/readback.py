"""What a node holds of what it should hold, thing by thing, in words; pure, for ``check`` commands and preflights.

``missing`` is empty exactly when ``diff`` has nothing to add or to change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from virtualserver.model.types import Decapsulation, LinkAddress, LinkKind, OwnLink, Service, State, address_order
from virtualserver.plan.diff import Subject
from virtualserver.plan.settings import link_of

_MODULES = {
    LinkKind.DUMMY: "dummy",
    LinkKind.IPIP: "ipip",
    LinkKind.SIT: "sit",
    LinkKind.IP6TNL: "ip6_tunnel",
    LinkKind.GRE: "ip_gre",
    LinkKind.IP6GRE: "ip6_gre",
}
_GUE = "fou"
_ALL_FILTERS = "net.ipv4.conf.all.rp_filter"
_FILTER = {0: "off", 1: "strict", 2: "loose"}

BESIDE = (_ALL_FILTERS,)
"""Settings that are not ours, yet explain what ours come to: a reader who wants to be told reads them, too."""


@dataclass(frozen=True, slots=True)
class Look:
    """One thing that should be there.

    ``about`` is None for settings and packet-filter rules, which nobody needs alone. ``problem`` is empty when it is
    as it should be.
    """

    about: Subject | None
    thing: str
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.thing}: {self.problem or 'as it should be'}"


def missing(wanted: State, found: State, absent: Collection[str] = ()) -> list[Look]:
    """Return what is not there, or not as it should be. ``absent`` are modules that this kernel does not have."""
    return [one for one in looks(wanted, found, absent) if one.problem]


def modules(wanted: State) -> frozenset[str]:
    """Return the names of the kernel modules that a state needs, for its links and its GUE ports."""
    kinds = {_MODULES[link.kind] for link in wanted.own_links.values() if link.kind in _MODULES}
    return frozenset(kinds | ({_GUE} if wanted.decapsulations else set()))


def looks(wanted: State, found: State, absent: Collection[str] = ()) -> Iterator[Look]:
    """Yield a look at each thing that is wanted."""
    for name, link in sorted(wanted.own_links.items()):
        yield Look(name, f"link {name} ({link})", _link(name, link, found, absent))
    yield from _settings(wanted, found)
    yield from _rules(wanted, found)
    for port in sorted(wanted.decapsulations, key=str):
        yield Look(port, str(port), _port(port, found, absent))
    for key, service in sorted(wanted.services.items(), key=lambda item: str(item[0])):
        yield Look(key, f"virtual service {key}", _service(service, found.services.get(key)))
    for address in sorted(wanted.addresses, key=lambda one: (address_order(one.address), one.link)):
        yield Look(address, f"address {address}", _address(address, found))


def _link(name: str, wanted: OwnLink, found: State, absent: Collection[str]) -> str:
    there = found.own_links.get(name)
    if there is None and name in found.links:
        return "another program has a link of this name"
    if there is None:
        return f"missing{_without(_MODULES.get(wanted.kind, ''), absent)}"
    if replace(there, up=wanted.up) != wanted:
        return f"another hand has changed it ({there})"
    return "" if there.up or not wanted.up else "it is down"


def _settings(wanted: State, found: State) -> Iterator[Look]:
    """A setting that this kernel does not have (IPv6 switched off) is not asked for, as in ``diff``."""
    for name, value in sorted(wanted.sysctls.items()):
        if name in found.sysctls:
            there = found.sysctls[name]
            yield Look(None, f"{name} = {value}", "" if there == value else f"it is {there}{_effect(name, found)}")


def _effect(name: str, found: State) -> str:
    """Return what a reverse-path filter comes to: the kernel takes the larger of the link's and that of all."""
    if not name.endswith(".rp_filter"):
        return ""
    own, everywhere = (int(found.sysctls.get(one, "0")) for one in (name, _ALL_FILTERS))
    effective = max(own, everywhere)
    through = f", because {_ALL_FILTERS} is {everywhere}" if everywhere > own else ""
    return f", which makes {effective} ({_FILTER.get(effective, 'unknown')}) on {link_of(name)}{through}"


def _rules(wanted: State, found: State) -> Iterator[Look]:
    rules, there = wanted.rules, found.rules
    for one in sorted(rules.tunnelled, key=lambda one: (one.port, address_order(one.source))):
        thing = f"packet-filter rule: UDP port {one.port} takes GUE from {one.source} and from no stranger"
        yield Look(None, thing, "" if one in there.tunnelled else "missing")
    for clamp in sorted(rules.clamped, key=lambda one: address_order(one.address)):
        thing = f"packet-filter rule: clients of {clamp.address} send TCP segments of at most {clamp.segment} bytes"
        yield Look(None, thing, "" if clamp in there.clamped else "missing")
    for address in sorted(rules.sealed, key=address_order):
        thing = f"packet-filter rule: {address} takes nothing from tunnel devices that take packets from anybody"
        yield Look(None, thing, "" if address in there.sealed else "missing")
    for name, ours, theirs in (
        ("no TCP reset of the node's own from", rules.guarded, there.guarded),
        ("the director's own source address for connections to", rules.translated, there.translated),
    ):
        for key in sorted(ours, key=str):
            yield Look(key, f"packet-filter rule: {name} {key}", "" if key in theirs else "missing")


def _port(port: Decapsulation, found: State, absent: Collection[str]) -> str:
    return "" if port in found.decapsulations else f"closed{_without(_GUE, absent)}"


def _service(wanted: Service, found: Service | None) -> str:
    if found is None:
        return "missing"
    return "" if found == wanted else "it is set otherwise"


def _address(address: LinkAddress, found: State) -> str:
    if address in found.addresses:
        return ""
    others = sorted(one.link for one in found.addresses if one.address == address.address)
    return f"it is on {', '.join(others)}, and not ours" if others else "missing"


def _without(module: str, absent: Collection[str]) -> str:
    return f"; this kernel does not have the module {module}" if module in absent else ""
