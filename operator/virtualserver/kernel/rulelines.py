"""What stands in each of our packet-filter chains: values to lines of rules, and a line's options back to a value.

Reading may be lax: whoever reads writes the values again and compares, so nothing foreign passes for ours.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Generic, TypeVar

from virtualserver.kernel.wire import PROTOCOL_NUMBERS, PROTOCOLS
from virtualserver.model.failover import VRRP_PROTOCOL, Member
from virtualserver.model.types import Admission, Clamp, IPAddress, Protocol, ServiceKey, address_order

Options = Mapping[str, tuple[str, ...]]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Lines(Generic[Value]):
    """The content of one chain: ``name`` is the field of ``Rules``.

    ``write`` returns the lines for the values of one IP version. ``read`` returns the value of a line's options, None
    for a line that has none of its own; raises ValueError or LookupError for a line that is not ours. ``together``:
    values of one IP version make lines of the other, too.
    """

    name: str
    write: Callable[[Iterable[Value], int], list[str]]
    read: Callable[[Options], Value | None]
    together: bool = False


def options(rule: str) -> Options:
    """Return a rule's options with their values, in any order; raises ValueError when one stands there twice.

    Addresses are brought into one form: with a prefix length, in Python's spelling. So are protocols: by number where
    a name depends on the node's /etc/protocols.
    """
    found: dict[str, tuple[str, ...]] = {}
    name = ""
    for word in shlex.split(rule):
        if word.startswith("-") or word == "!":
            if word in found:
                raise ValueError(rule)
            name = word
            found[name] = ()
        else:
            found[name] = (*found.get(name, ()), _canonical(name, word))
    return found


def _canonical(name: str, word: str) -> str:
    if name == "-p":
        return str(VRRP_PROTOCOL) if word == "vrrp" else word
    if name == "-i":
        return word
    try:
        return str(ip_interface(word))
    except ValueError:
        return word


def _address(options: Options, name: str) -> IPAddress:
    return ip_interface(options[name][0]).ip


def _number(options: Options, name: str) -> int:
    return int(options[name][0]) if options.get(name) else 0


def _services(keys: Iterable[ServiceKey], version: int) -> list[ServiceKey]:
    mine = (key for key in keys if key.address.version == version)
    return sorted(mine, key=lambda key: (address_order(key.address), key.protocol, key.port))


def _write_guarded(keys: Iterable[ServiceKey], version: int) -> list[str]:
    lines = []
    for key in _services(keys, version):
        port = f" --sport {key.port}" if key.port else ""
        source = f"{key.address}/{key.address.max_prefixlen}"
        lines.append(f"-s {source} -p tcp -m tcp{port} --tcp-flags RST RST -j DROP")
    return lines


def _read_guarded(options: Options) -> ServiceKey:
    return ServiceKey(Protocol.TCP, _address(options, "-s"), _number(options, "--sport"))


def _write_translated(keys: Iterable[ServiceKey], version: int) -> list[str]:
    lines = []
    for key in _services(keys, version):
        port = f" --vport {key.port}" if key.port else ""
        protocol = PROTOCOL_NUMBERS[key.protocol]
        lines.append(f"-m ipvs --vproto {protocol} --vaddr {key.address}{port} -j MASQUERADE")
    return lines


def _read_translated(options: Options) -> ServiceKey:
    protocol = PROTOCOLS[_number(options, "--vproto")]
    return ServiceKey(protocol, _address(options, "--vaddr"), _number(options, "--vport"))


def _write_tunnelled(admissions: Iterable[Admission], version: int) -> list[str]:
    """Sources that may send to a port come first, then the end of all others."""
    mine = {one for one in admissions if one.source.version == version}
    lines = []
    for port in sorted({one.port for one in mine}):
        sources = sorted((one.source for one in mine if one.port == port), key=address_order)
        match = f"-p udp -m udp --dport {port}"
        lines += [f"-s {source}/{source.max_prefixlen} {match} -j RETURN" for source in sources]
        lines.append(f"{match} -j DROP")
    return lines


def _read_tunnelled(options: Options) -> Admission | None:
    return Admission(_number(options, "--dport"), _address(options, "-s")) if "-s" in options else None


def _write_clamped(clamps: Iterable[Clamp], version: int) -> list[str]:
    mine = sorted((one for one in clamps if one.address.version == version), key=lambda one: address_order(one.address))
    return [
        f"-s {one.address}/{one.address.max_prefixlen} -p tcp -m tcp --tcp-flags SYN,RST SYN "
        f"-j TCPMSS --set-mss {one.segment}"
        for one in mine
    ]


def _read_clamped(options: Options) -> Clamp:
    return Clamp(_address(options, "-s"), _number(options, "--set-mss"))


def _write_members(members: Iterable[Member], version: int) -> list[str]:
    """Members that may send to a link and port come first, then the end of all others, in both IP versions."""
    listed = set(members)
    lines = []
    for link, port in sorted({(one.link, one.port) for one in listed}):
        sources = [one.source for one in listed if (one.link, one.port, one.source.version) == (link, port, version)]
        match = f"-i {link} " + (f"-p udp -m udp --dport {port}" if port else f"-p {VRRP_PROTOCOL}")
        sources.sort(key=address_order)
        lines += [f"-s {source}/{source.max_prefixlen} {match} -j RETURN" for source in sources]
        lines.append(f"{match} -j DROP")
    return lines


def _read_members(options: Options) -> Member | None:
    if "-s" not in options:
        return None
    return Member(options["-i"][0], _address(options, "-s"), _number(options, "--dport"))


def _write_tracked(versions: Iterable[int], version: int) -> list[str]:
    """A rule that matches no packet: that it is there makes the kernel track connections."""
    source = {4: "0.0.0.0/32", 6: "::/128"}[version]
    return [f"-s {source} -m conntrack --ctstate INVALID -j RETURN"] if version in set(versions) else []


def _read_tracked(options: Options) -> int:
    return _address(options, "-s").version


def _write_sealed(addresses: Iterable[IPAddress], version: int) -> list[str]:
    mine = sorted((one for one in addresses if one.version == version), key=address_order)
    return [f"-d {one}/{one.max_prefixlen} -j DROP" for one in mine]


def _read_sealed(options: Options) -> IPAddress:
    return _address(options, "-d")


GUARDED = Lines("guarded", _write_guarded, _read_guarded)
TRANSLATED = Lines("translated", _write_translated, _read_translated)
TUNNELLED = Lines("tunnelled", _write_tunnelled, _read_tunnelled)
CLAMPED = Lines("clamped", _write_clamped, _read_clamped)
TRACKED = Lines("tracked", _write_tracked, _read_tracked)
MEMBERS = Lines("members", _write_members, _read_members, together=True)
SEALED: Lines[IPAddress] = Lines("sealed", _write_sealed, _read_sealed)
