"""From options to what the machine should hold: judged by the models and rules of the API, in the words of options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any

from pydantic import TypeAdapter, ValidationError

from virtualserver.api.enums import ForwardingMode
from virtualserver.api.values import Address
from virtualserver.api.virtualserver import Forwarding
from virtualserver.kernel.port import KernelError
from virtualserver.kernel.ways import Way
from virtualserver.model.types import IPAddress
from virtualserver.plan.machine import Entry

SMALLEST_MTU, LARGEST_MTU = 576, 65535
"""Bytes; RFC 791 asks every IPv4 host to take 576."""

_ADDRESS: TypeAdapter[str] = TypeAdapter(Address)
_OPTIONS = {"mode": "--mode", "type": "--tunnel", "port": "--port", "checksum": "--checksum"}

Lookup = Callable[[IPAddress], Way]
"""Director -> the way to it; raises KernelError."""


class OptionError(Exception):
    """An option that cannot be used; the message names it and its value."""


def addresses(option: str, texts: Iterable[str]) -> frozenset[IPAddress]:
    """Return the addresses given with an option; raises OptionError."""
    found = set()
    for text in texts:
        try:
            found.add(ip_address(_ADDRESS.validate_python(text)))
        except ValidationError as error:
            raise OptionError(f"{option} {text}: {error.errors()[0]['msg']}") from None
    return frozenset(found)


def forwarding(given: argparse.Namespace) -> Forwarding:
    """Return how packets come; raises OptionError."""
    asked: dict[str, Any] = {"mode": given.mode}
    tunnel = {name: value for name, value in (("type", given.tunnel), ("port", given.port)) if value is not None}
    if given.checksum:
        tunnel["checksum"] = True
    if tunnel or given.mode == ForwardingMode.TUNNEL:
        asked["tunnel"] = tunnel
    try:
        return Forwarding.model_validate(asked)
    except ValidationError as error:
        raise OptionError(_problem(error, asked | tunnel)) from None


def entries(given: argparse.Namespace, lookup: Lookup) -> dict[IPAddress, Entry]:
    """Return what the options ask for, by virtual address; raises OptionError."""
    virtual = addresses("--address", given.address)
    directors = addresses("--director", given.director)
    local = addresses("--local", given.local)
    asked = forwarding(given)
    for director in directors & virtual:
        raise OptionError(f"--director {director}: is a virtual address; give the director's own")
    for one in local & (virtual | directors):
        raise OptionError(f"--local {one}: is a virtual address or a director's; give this machine's own")
    if given.mtu is not None and not SMALLEST_MTU <= given.mtu <= LARGEST_MTU:
        raise OptionError(f"--mtu {given.mtu}: must be {SMALLEST_MTU} to {LARGEST_MTU} bytes")
    if asked.mode is not ForwardingMode.TUNNEL:
        return dict.fromkeys(virtual, Entry(asked, directors))
    if not directors:
        raise OptionError("--director: mode Tunnel needs at least one; packets of all others are not taken")
    entry = _tunnelled(asked, directors, local, given.mtu, lookup)
    return dict.fromkeys(virtual, entry)


def _tunnelled(
    asked: Forwarding, directors: frozenset[IPAddress], local: frozenset[IPAddress], mtu: int | None, lookup: Lookup
) -> Entry:
    ways = [] if local else [_way(director, lookup) for director in sorted(directors, key=str)]
    ends = local or frozenset(one.local for one in ways)
    for director in directors:
        if director.version not in {one.version for one in ends}:
            raise OptionError(f"--director {director}: no --local is IPv{director.version}")
    return Entry(asked, directors, ends, mtu or min((one.mtu for one in ways), default=1500))


def _way(director: IPAddress, lookup: Lookup) -> Way:
    try:
        found = lookup(director)
    except KernelError as error:
        raise OptionError(f"--director {director}: {error}; --local can say which address it sends to") from None
    if found.local == director:
        raise OptionError(f"--director {director}: is this machine itself")
    return found


def _problem(error: ValidationError, asked: dict[str, Any]) -> str:
    """Return the first problem of a model under the name of its option."""
    first = error.errors(include_url=False)[0]
    steps = [str(step) for step in first["loc"]] + str(first.get("ctx", {}).get("path", "")).split(".")
    if steps[-1] == "tunnel":  # the whole of it: its first member stands for it
        steps.append(next(iter(asked["tunnel"]), "mode"))
    name = next((step for step in reversed(steps) if step in _OPTIONS), "mode")
    value = asked.get(name)
    shown = f" {value}" if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return f"{_OPTIONS[name]}{shown}: {first['msg']}"
