"""Our packet-filter rules as text of iptables-restore and back; pure.

Two chains of our own, one jump to each. Nothing else is ever written, whatever else stands in the tables::

    filter  OUTPUT      -> VIRTUALSERVER-GUARD   drops TCP resets that this node itself would send from a service
    nat     POSTROUTING -> VIRTUALSERVER-SNAT    gives balanced connections the director's own source address

The guard hangs on OUTPUT only: a real server's own resets are forwarded, and pass. ICMP passes, so that a service
without real servers refuses clearly. Translation needs ``net.ipv4.vs.conntrack=1``.
A chain that is not word for word what we would write, or that nothing jumps to, reads as empty: a diff sees it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface

from virtualserver.kernel.wire import PROTOCOL_NUMBERS, PROTOCOLS
from virtualserver.model.types import Protocol, Rules, ServiceKey, address_order


@dataclass(frozen=True, slots=True)
class Chain:
    """One chain of ours and where it is jumped to from."""

    table: str
    hook: str
    name: str


GUARD = Chain("filter", "OUTPUT", "VIRTUALSERVER-GUARD")
SNAT = Chain("nat", "POSTROUTING", "VIRTUALSERVER-SNAT")
CHAINS = (GUARD, SNAT)

Options = Mapping[str, tuple[str, ...]]


@dataclass(slots=True)
class Installed:
    """What a dump of one family's tables holds of one chain: whether it is there, its rules, the jumps to it."""

    present: bool = False
    jumps: int = 0
    rules: list[str] = field(default_factory=list)


def parse_dump(text: str) -> dict[Chain, Installed]:
    """Return what iptables-save shows of our chains; lines of others are passed over."""
    found = {chain: Installed() for chain in CHAINS}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        for chain, installed in found.items():
            if chain.table != table:
                continue
            if line.startswith(f":{chain.name} "):
                installed.present = True
            elif line.startswith(f"-A {chain.name} "):
                installed.rules.append(line.removeprefix(f"-A {chain.name} "))
            elif line == f"-A {chain.hook} -j {chain.name}":
                installed.jumps += 1
    return found


def read_rules(families: Iterable[Mapping[Chain, Installed]]) -> Rules:
    """Return the services that are guarded and translated, over both families' dumps."""
    guarded: set[ServiceKey] = set()
    translated: set[ServiceKey] = set()
    for installed in families:
        guarded |= _services(installed[GUARD], _guarded)
        translated |= _services(installed[SNAT], _translated)
    return Rules(frozenset(guarded), frozenset(translated))


def render(rules: Rules, version: int, installed: Mapping[Chain, Installed]) -> str:
    """Return what turns ``installed`` into ``rules`` for one IP version; empty when there is nothing to do.

    For ``iptables-restore --noflush``, which replaces each table at once: there is no moment without the rules.
    """
    wanted = {
        GUARD: [_guard_line(key) for key in _ordered(rules.guarded, version)],
        SNAT: [_translation_line(key) for key in _ordered(rules.translated, version)],
    }
    return "".join(_render_chain(chain, wanted[chain], installed[chain]) for chain in CHAINS)


def _render_chain(chain: Chain, lines: list[str], installed: Installed) -> str:
    if not lines and not installed.present:
        return ""
    text = [f"*{chain.table}", f":{chain.name} - [0:0]"]  # under --noflush this creates or empties the chain
    text += [f"-D {chain.hook} -j {chain.name}"] * installed.jumps
    if lines:
        text += [f"-A {chain.name} {line}" for line in lines]
        text.append(f"-I {chain.hook} 1 -j {chain.name}")
    else:
        text.append(f"-X {chain.name}")
    return "\n".join([*text, "COMMIT", ""])


def _ordered(keys: Iterable[ServiceKey], version: int) -> list[ServiceKey]:
    mine = (key for key in keys if key.address.version == version)
    return sorted(mine, key=lambda key: (address_order(key.address), key.protocol, key.port))


def _guard_line(key: ServiceKey) -> str:
    port = f" --sport {key.port}" if key.port else ""
    return f"-s {key.address}/{key.address.max_prefixlen} -p tcp -m tcp{port} --tcp-flags RST RST -j DROP"


def _translation_line(key: ServiceKey) -> str:
    port = f" --vport {key.port}" if key.port else ""
    return f"-m ipvs --vproto {PROTOCOL_NUMBERS[key.protocol]} --vaddr {key.address}{port} -j MASQUERADE"


class _ForeignRuleError(ValueError):
    """A rule in our chain that we did not write."""


def _services(installed: Installed, parse_rule: Callable[[Options], ServiceKey]) -> set[ServiceKey]:
    """Return the services of one chain; none when the chain is not what we would have written."""
    if not installed.jumps:
        return set()
    try:
        found = [parse_rule(_options(rule)) for rule in installed.rules]
    except ValueError:
        return set()
    return set(found)


def _options(rule: str) -> Options:
    """Return a rule's options with their values; they may stand in any order, each once."""
    options: dict[str, tuple[str, ...]] = {}
    name = ""
    for word in shlex.split(rule):
        if word.startswith("-") or word == "!":
            if word in options:
                raise _ForeignRuleError(rule)
            name = word
            options[name] = ()
        else:
            options[name] = (*options.get(name, ()), word)
    return options


def _guarded(options: Options) -> ServiceKey:
    port = _optional_port(options, "--sport")
    fixed = {"-p": ("tcp",), "-m": ("tcp",), "--tcp-flags": ("RST", "RST"), "-j": ("DROP",)}
    source = options.get("-s", ("",))[0]
    _expect(options, {**fixed, "-s": (source,)}, "--sport")
    interface = ip_interface(source)
    if interface.network.prefixlen != interface.max_prefixlen:
        raise _ForeignRuleError(source)
    return ServiceKey(Protocol.TCP, interface.ip, port)


def _translated(options: Options) -> ServiceKey:
    port = _optional_port(options, "--vport")
    protocol = options.get("--vproto", ("",))[0]
    address = options.get("--vaddr", ("",))[0]
    fixed = {"-m": ("ipvs",), "--vproto": (protocol,), "--vaddr": (address,), "-j": ("MASQUERADE",)}
    _expect(options, fixed, "--vport")
    if int(protocol) not in PROTOCOLS:
        raise _ForeignRuleError(protocol)
    return ServiceKey(PROTOCOLS[int(protocol)], ip_address(address), port)


def _optional_port(options: Options, name: str) -> int:
    return int(options[name][0]) if options.get(name) else 0


def _expect(options: Options, fixed: Options, optional: str) -> None:
    given = {name: values for name, values in options.items() if name != optional}
    if given != fixed:
        raise _ForeignRuleError(str(options))
