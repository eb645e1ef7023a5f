"""The same as a plain shell script, rendered from the operations that ``diff`` decides for an empty machine.

It keeps the record that the command keeps, so each can take over from the other. The links of the machine that it is
for are not known here: a setting of each of them is one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from shlex import quote

from virtualserver.agent.record import compact, dump
from virtualserver.kernel.ownlinks import MARK
from virtualserver.kernel.rules import CHAINS, contents
from virtualserver.machine import store
from virtualserver.model.operations import (
    AddAddress,
    AddDecapsulation,
    AddLink,
    Operation,
    RaiseLink,
    RemoveAddress,
    RemoveDecapsulation,
    RemoveLink,
    ReplaceRules,
    WriteSysctl,
)
from virtualserver.model.types import Decapsulation, LinkKind, Owned, OwnLink, Rules, State, address_order
from virtualserver.plan import machine, steps
from virtualserver.plan.desired import Circumstances
from virtualserver.plan.machine import Entries
from virtualserver.plan.settings import link_of

_EVERY = "EVERY-UPLINK"
"""Stands for each link of the machine in the names of settings; too long for the name of a link."""

_PROGRAMS = {4: "iptables", 6: "ip6tables"}
_HEAD = """\
#!/bin/sh
# Makes this machine a real server of {about}.
# Run as root: sh FILE apply, or: sh FILE remove. Each may be repeated. Needs ip (iproute2){iptables}.
# Printed by "virtualserver real-server script"; that command's check, apply and remove understand what it has made.
set -eu
umask 022
export LC_ALL=C PATH="${{PATH:-}}:/usr/sbin:/sbin"
ABOUT={about_quoted}
STATE={state}
MARK={mark}
WANTED={wanted}
RECORD_BEGIN={begin}
RECORD_END={end}
"""


def script(entries: Entries, state_dir: Path) -> str:
    """Return the script for these virtual addresses; it keeps its record in ``state_dir``."""
    wanted = machine.plan(entries, Circumstances(uplinks=frozenset({_EVERY}))).state
    there = steps.there(wanted)
    functions = {
        "free": _free(there),
        "settings": _settings(there),
        "set_up": (line for one in there for line in _lines(one, Rules())),
        "take_away": (line for one in _once(steps.back(wanted)) for line in _lines(one, wanted.rules)),
    }
    bodies = [_function(name, lines) for name, lines in functions.items()]
    library = files("virtualserver.machine").joinpath("library.sh").read_text(encoding="utf-8")
    return "\n".join([_head(entries, wanted, state_dir), *bodies, library])


def _head(entries: Entries, wanted: State, state_dir: Path) -> str:
    begin, end = _record(wanted)
    addresses = ", ".join(str(one) for one in sorted(entries, key=address_order))
    return _HEAD.format(
        about="; ".join(f"{one} ({entries[one]})" for one in sorted(entries, key=address_order)),
        iptables=" and iptables" if wanted.rules != Rules() else "",
        about_quoted=quote(f"{addresses} {'are' if len(entries) > 1 else 'is'}"),
        state=quote(str(state_dir)),
        mark=MARK,
        wanted=quote(compact(store.dump(entries))),
        begin=quote(begin),
        end=quote(end),
    )


def _record(wanted: State) -> tuple[str, str]:
    """Return the record's text before and after the list of settings as they were, which only the machine knows."""
    owned = Owned(
        addresses=wanted.addresses,
        sysctls={_EVERY: ""},
        rules=wanted.rules != Rules(),
        own_links=frozenset(wanted.own_links),
        decapsulations=wanted.decapsulations,
    )
    begin, end = compact(dump(owned)).split(compact({_EVERY: ""})[1:-1])
    return begin, end


def _function(name: str, lines: Iterable[str]) -> str:
    """Return a shell function; lines that end with a line break are text of a here-document and not indented."""
    body = [line.removesuffix("\n") if line.endswith("\n") else f"  {line}" for line in lines]
    return "\n".join([f"{name}() {{", *(body or ["  :"]), "}", ""])


def _free(there: Iterable[Operation]) -> Iterator[str]:
    """Yield the looks for what others have: the conflicts of ``diff``."""
    for operation in there:
        match operation:
            case AddLink(name):
                yield f"free_link {name}"
            case AddAddress(one):
                yield f"free_address {one.address}/{one.prefix}"
            case AddDecapsulation(port):
                yield f"free_gue {_port(port)}"


def _settings(there: Iterable[Operation]) -> Iterator[str]:
    """Yield what prints the names of the settings that do not go with a link of ours."""
    made = {operation.name for operation in there if isinstance(operation, AddLink)}
    for operation in there:
        if isinstance(operation, WriteSysctl) and link_of(operation.name) not in made:
            before, placeholder, after = operation.name.partition(_EVERY)
            yield f"each {before} {after}" if placeholder else f"echo {quote(operation.name)}"


def _once(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Yield one for all settings that are put back: the script has written down which."""
    seen = False
    for operation in operations:
        if not (isinstance(operation, WriteSysctl) and seen):
            yield operation
        seen = seen or isinstance(operation, WriteSysctl)


def _lines(operation: Operation, before: Rules) -> Iterator[str]:
    """Yield what does an operation; ``before`` are the rules that stand when it is their turn."""
    match operation:
        case AddLink(name, link):
            yield f"add_link {name} {_kind(link)}"
        case RaiseLink(name):
            yield f"raise_link {name}"
        case RemoveLink(name):
            yield f"remove_link {name}"
        case WriteSysctl(_, steps.UNKNOWN):
            yield "put_settings_back"
        case WriteSysctl(name, value):
            start, placeholder, end = name.partition(_EVERY)
            yield f"write_each {start} {end} {value}" if placeholder else f"write_setting {quote(name)} {value}"
        case ReplaceRules(rules):
            yield from _rules(rules, before)
        case AddDecapsulation(port):
            yield f"open_gue {_port(port)}"
        case RemoveDecapsulation(port):
            yield f"close_gue {_port(port)}"
        case AddAddress(one):
            flag = " nodad" if one.address.version == 6 else ""
            yield f"add_address {one.address}/{one.prefix} {one.link}{flag}"
        case RemoveAddress(one):
            yield f"remove_address {one.address}/{one.prefix} {one.link}"
        case _:
            raise ValueError(f"no machine outside the cluster needs this: {operation}")


def _rules(rules: Rules, before: Rules) -> Iterator[str]:
    for version, program in _PROGRAMS.items():
        wanted, there = contents(rules, version), contents(before, version)
        for chain in CHAINS:
            call = f"set_rules {program} {chain.table} {chain.hook} {' '.join((chain.name, *chain.links))}"
            if wanted[chain]:
                yield f"{call} <<'END'"
                yield from (f"{line}\n" for line in wanted[chain])
                yield "END\n"
            elif there[chain]:
                yield f"{call} </dev/null"


def _port(port: Decapsulation) -> str:
    return f"{port.port} -6" if port.version == 6 else str(port.port)


def _kind(link: OwnLink) -> str:
    """Return a kind of link with its settings as ``ip link`` takes them."""
    ends = f"{link.kind} local {link.local} remote {link.remote}"
    match link.kind:
        case LinkKind.DUMMY:
            return "dummy"
        case LinkKind.IPIP | LinkKind.SIT | LinkKind.IP6TNL:
            modes = {LinkKind.IPIP: "ipip", LinkKind.SIT: "ip6ip", LinkKind.IP6TNL: "any"}
            return f"{ends} mode {modes[link.kind]}"
        case _:
            return f"{ends} {'icsum' if link.checksum else 'noicsum'}"
