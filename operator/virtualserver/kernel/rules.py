"""Our packet-filter rules as text of iptables-restore and back; pure.

Chains of our own, and the jumps to them. Nothing else is ever written, whatever else stands in the tables::

    filter  OUTPUT      -> VIRTUALSERVER-GUARD   drops TCP resets that this node itself would send from a service
    nat     POSTROUTING -> VIRTUALSERVER-SNAT    gives balanced connections the director's own source address
    filter  OUTPUT      -> VIRTUALSERVER-TRACK   keeps connections tracked that were translated, and still live
    mangle  INPUT       -> VIRTUALSERVER-GUE     drops packets to a GUE port that do not come from a director
    mangle  INPUT       -> VIRTUALSERVER-MEMBERS drops VRRP and mirrored connections of others than fellow directors
    mangle  INPUT       -> VIRTUALSERVER-SEAL    drops what strangers send to a tunnelled service by the kernel's own
                                                 tunnel devices; only what comes from one of those is looked at
    mangle  POSTROUTING -> VIRTUALSERVER-MSS     makes clients of a tunnelled service send smaller segments

The guard hangs on OUTPUT only: a real server's own resets are forwarded, and pass. ICMP passes, so that a service
without real servers refuses clearly. Translation needs ``net.ipv4.vs.conntrack=1``. What others send to this node is
looked at in mangle, where nothing that other programs accept in filter can overtake it, and on INPUT, for ports of
forwarded packets are none of ours. There also comes in what this node itself sends to a multicast group.
A chain that is not word for word what we would write, or lacks a jump to it, reads as empty: a diff sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from virtualserver.kernel.rulelines import (
    CLAMPED,
    GUARDED,
    MEMBERS,
    SEALED,
    TRACKED,
    TRANSLATED,
    TUNNELLED,
    Lines,
    Options,
    options,
)
from virtualserver.model.types import CATCH_ALL, Rules


@dataclass(frozen=True, slots=True)
class Chain:
    """One chain of ours and where it is jumped to from: by packets that come in by certain ``links``, or by all."""

    table: str
    hook: str
    name: str
    links: tuple[str, ...] = ()

    @property
    def jumps(self) -> list[str]:
        """Return the rules that jump to it, as they stand after ``-A HOOK``."""
        return [f"-i {link} -j {self.name}" for link in self.links] or [f"-j {self.name}"]


GUARD = Chain("filter", "OUTPUT", "VIRTUALSERVER-GUARD")
SNAT = Chain("nat", "POSTROUTING", "VIRTUALSERVER-SNAT")
TRACK = Chain("filter", "OUTPUT", "VIRTUALSERVER-TRACK")
GUE = Chain("mangle", "INPUT", "VIRTUALSERVER-GUE")
FELLOWS = Chain("mangle", "INPUT", "VIRTUALSERVER-MEMBERS")
SEAL = Chain("mangle", "INPUT", "VIRTUALSERVER-SEAL", CATCH_ALL)
MSS = Chain("mangle", "POSTROUTING", "VIRTUALSERVER-MSS")

_CONTENTS: dict[Chain, Lines[Any]] = {
    TRACK: TRACKED,
    GUARD: GUARDED,
    SNAT: TRANSLATED,
    GUE: TUNNELLED,
    FELLOWS: MEMBERS,
    SEAL: SEALED,
    MSS: CLAMPED,
}
CHAINS = tuple(_CONTENTS)


@dataclass(slots=True)
class Installed:
    """What a dump of one family's tables holds of one chain: whether it is there, its rules, the jumps to it."""

    present: bool = False
    jumps: list[str] = field(default_factory=list)
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
            elif line.startswith(f"-A {chain.hook} ") and (jump := line.split(" ", 2)[2]) in chain.jumps:
                installed.jumps.append(jump)
    return found


def read_rules(tables: Mapping[int, Mapping[Chain, Installed]]) -> Rules:
    """Return our rules from what is installed for each IP version."""
    return Rules(
        **{
            lines.name: _read_chain(
                lines, chain.jumps, {version: installed[chain] for version, installed in tables.items()}
            )
            for chain, lines in _CONTENTS.items()
        }
    )


def contents(rules: Rules, version: int) -> dict[Chain, list[str]]:
    """Return what should stand in each chain for one IP version, a line a rule."""
    return {chain: lines.write(getattr(rules, lines.name), version) for chain, lines in _CONTENTS.items()}


def render(rules: Rules, version: int, installed: Mapping[Chain, Installed]) -> str:
    """Return what turns ``installed`` into ``rules`` for one IP version; empty when there is nothing to do.

    For ``iptables-restore --noflush``, which replaces each table at once: there is no moment without the rules.
    """
    wanted = contents(rules, version)
    return "".join(_render_chain(chain, wanted[chain], installed[chain]) for chain in CHAINS)


def _render_chain(chain: Chain, lines: list[str], installed: Installed) -> str:
    if not lines and not installed.present:
        return ""
    text = [f"*{chain.table}", f":{chain.name} - [0:0]"]  # under --noflush this creates or empties the chain
    text += [f"-D {chain.hook} {jump}" for jump in installed.jumps]
    if lines:
        text += [f"-A {chain.name} {line}" for line in lines]
        text += [f"-I {chain.hook} 1 {jump}" for jump in reversed(chain.jumps)]
    else:
        text.append(f"-X {chain.name}")
    return "\n".join([*text, "COMMIT", ""])


def _read_chain(lines: Lines[Any], jumps: list[str], tables: Mapping[int, Installed]) -> frozenset[Any]:
    """Return the values of one chain; none of an IP version's when it is not what we would have written for them."""
    found = {version: _read_lines(lines, jumps, installed) for version, installed in tables.items()}
    everything = frozenset[Any]().union(*(values for values, _ in found.values()))
    right = [
        version for version, (_, told) in found.items() if told == [*map(options, lines.write(everything, version))]
    ]
    if lines.together and len(right) < len(found):
        return frozenset()
    return frozenset[Any]().union(*(found[version][0] for version in right))


def _read_lines(
    lines: Lines[Any], jumps: list[str], installed: Installed
) -> tuple[frozenset[Any], list[Options] | None]:
    """Return the values of one IP version's chain and its lines; None for what cannot be ours, or is not reached."""
    if not set(jumps) <= set(installed.jumps):
        return frozenset(), None if installed.present else []
    try:
        told = [options(rule) for rule in installed.rules]
        return frozenset(value for one in told if (value := lines.read(one)) is not None), told
    except (ValueError, LookupError):
        return frozenset(), None
