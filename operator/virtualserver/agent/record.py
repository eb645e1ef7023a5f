"""What this node made, on disk: written before the kernel is, so that nothing of ours is ever forgotten.

{"version": 3, "services": ["TCP 198.18.0.100 80"], "addresses": ["eth0 198.18.0.100 32"],
 "sysctls": {"net.ipv4.ip_forward": "0"}, "rules": true, "links": ["vs-addresses"],
 "decapsulations": ["6080 4"], "daemons": {"sender": 2}, "served": ["default"]}

Version 1 had no links and no decapsulations, version 2 no daemons and nothing served.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from virtualserver.model.failover import SyncRole
from virtualserver.model.operations import (
    AddAddress,
    AddDecapsulation,
    AddLink,
    AddService,
    ConfigureInstances,
    Operation,
    ReplaceRules,
    StartDaemon,
    WriteSysctl,
)
from virtualserver.model.types import Decapsulation, LinkAddress, Owned, Protocol, Rules, ServiceKey, State
from virtualserver.plan.settings import link_of, may_be_ours


class RecordError(Exception):
    """The record cannot be read or written; without it nothing in the kernel may be changed."""


class Record:
    """The node's record of its own work; ``owned`` is what it says now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.owned = _load(path)

    def claim(self, operations: Iterable[Operation], found: State) -> None:
        """Write down what these operations are about to make; ``found`` is the node before.

        Raises RecordError, in which case the operations must not be applied.
        """
        services, addresses = set(self.owned.services), set(self.owned.addresses)
        sysctls, rules = dict(self.owned.sysctls), self.owned.rules
        links, decapsulations = set(self.owned.own_links), set(self.owned.decapsulations)
        daemons = dict(self.owned.daemons)
        for operation in operations:
            match operation:
                case AddService():
                    services.add(operation.key)
                case AddAddress():
                    addresses.add(operation.address)
                case AddLink():
                    links.add(operation.name)
                case AddDecapsulation():
                    decapsulations.add(operation.decapsulation)
                case WriteSysctl() if link_of(operation.name) in links:
                    pass  # goes with the link
                case WriteSysctl():
                    sysctls.setdefault(operation.name, found.sysctls[operation.name])
                case ReplaceRules():
                    rules = rules or operation.rules != Rules()
                case ConfigureInstances():
                    addresses.update(address for one in operation.instances for address in one.holds)
                case StartDaemon():
                    daemons[operation.daemon.role] = found.indexes.get(operation.daemon.link, 0)
                case _:
                    pass
        self._keep(
            Owned(
                frozenset(services),
                frozenset(addresses),
                sysctls,
                rules,
                frozenset(links),
                frozenset(decapsulations),
                daemons,
                self.owned.served,
            )
        )

    def serve(self, groups: frozenset[str]) -> None:
        """Write down whose addresses this node holds or has held; raises RecordError."""
        self._keep(replace(self.owned, served=groups))

    def settle(self, desired: State, actual: State) -> None:
        """Forget what is neither wanted nor there any more."""
        owned = self.owned
        told = {one for state in (desired, actual) for router in state.instances.values() for one in router.holds}
        addresses = actual.addresses | desired.addresses | told
        self._keep(
            replace(
                owned,
                services=frozenset(k for k in owned.services if k in actual.services or k in desired.services),
                addresses=owned.addresses & addresses,
                sysctls={
                    name: before
                    for name, before in owned.sysctls.items()
                    if name in desired.sysctls or _stands(name, before, actual.sysctls.get(name))
                },
                rules=owned.rules and (actual.rules != Rules() or desired.rules != Rules()),
                own_links=frozenset(n for n in owned.own_links if n in actual.own_links or n in desired.own_links),
                decapsulations=owned.decapsulations & (actual.decapsulations | desired.decapsulations),
                daemons={
                    role: index
                    for role, index in owned.daemons.items()
                    if role in {one.role for one in actual.daemons | desired.daemons}
                },
            )
        )

    def _keep(self, owned: Owned) -> None:
        if owned == self.owned:
            return
        write_json(self._path, dump(owned))
        self.owned = owned


def _stands(name: str, before: str, found: str | None) -> bool:
    """Return whether our value of a setting may still be there; what is gone (with its link) needs no putting back."""
    return found is not None and found != before and may_be_ours(name, found)


def write_json(path: Path, value: Any) -> None:
    """Replace a file by a JSON value so that a crash leaves the old or the new one; raises RecordError."""
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as stream:
            stream.write(compact(value))
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}") from error


def compact(value: Any) -> str:
    """Return JSON in one line without spaces."""
    return json.dumps(value, separators=(",", ":"))


def dump(owned: Owned) -> dict[str, Any]:
    """Return a record as it stands in its file."""
    return {
        "version": 3,
        "services": sorted(f"{key.protocol} {key.address} {key.port}" for key in owned.services),
        "addresses": sorted(f"{one.link} {one.address} {one.prefix}" for one in owned.addresses),
        "sysctls": dict(owned.sysctls),
        "rules": owned.rules,
        "links": sorted(owned.own_links),
        "decapsulations": sorted(f"{one.port} {one.version}" for one in owned.decapsulations),
        "daemons": {role.value: index for role, index in sorted(owned.daemons.items())},
        "served": sorted(owned.served),
    }


def _load(path: Path) -> Owned:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        services = [line.split() for line in value["services"]]
        addresses = [line.split() for line in value["addresses"]]
        return Owned(
            frozenset(ServiceKey(Protocol(protocol), ip_address(host), int(port)) for protocol, host, port in services),
            frozenset(LinkAddress(link, ip_address(host), int(prefix)) for link, host, prefix in addresses),
            dict(value["sysctls"]),
            bool(value["rules"]),
            frozenset(map(str, value.get("links", ()))),
            frozenset(Decapsulation(*map(int, line.split())) for line in value.get("decapsulations", ())),
            {SyncRole(role): int(index) for role, index in value.get("daemons", {}).items()},
            frozenset(map(str, value.get("served", ()))),
        )
    except FileNotFoundError:
        return Owned()
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RecordError(f"cannot read {path}: {type(error).__name__} {error}") from error
