"""What directors say of themselves in the status of their group, as frozen values; what cannot be read is left out."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pydantic import ValidationError

from virtualserver.api.enums import GroupRole, MirrorState
from virtualserver.api.failover import Failover
from virtualserver.model.types import IPAddress


@dataclass(frozen=True, slots=True)
class Report:
    """What one director says: its role, its addresses on the group's links, the request that it is ready to answer.

    ``lacking``: how many of the group's virtual servers it cannot serve. ``yields_to``: who is to take over for that.
    ``behind``: it lacks connections of the active director, or does not know.
    """

    node: str
    role: GroupRole
    addresses: frozenset[IPAddress] = frozenset()
    caught_up: str = ""
    lacking: int = 0
    yields_to: str = ""
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A planned failover that somebody asked for; ``to`` is "" when any other director will do.

    ``let_go_first``: the active director does so before another one takes over.
    """

    id: str
    to: str
    reason: str
    let_go_first: bool = False


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who says what about the addresses of a group. Never decides who holds them: that is VRRP's."""

    active: str = ""
    reports: tuple[Report, ...] = ()
    last: Failover | None = None
    request: Request | None = None
    """Only while it is pending: the last failover does not answer it."""

    def report(self, node: str) -> Report | None:
        """Return what a director says of itself."""
        return next((one for one in self.reports if one.node == node), None)


NOTHING_SAID = Ownership()


def ownership(status: Mapping[str, Any]) -> Ownership:
    """Read the status of a DirectorGroup."""
    asked, last = status.get("failoverRequest") or {}, status.get("lastFailover") or {}
    request = None
    if asked.get("id") and asked["id"] != last.get("request"):
        request = Request(
            asked["id"], asked.get("to") or "", asked.get("reason") or "", asked.get("letGoFirst") is True
        )
    entries = status.get("directors") or []
    found = (_report(one) for one in entries if isinstance(one, Mapping))
    failover = None
    with contextlib.suppress(ValidationError):  # of a newer version
        failover = Failover.model_validate(last) if last else None
    return Ownership(
        status.get("activeDirector") or "",
        tuple(sorted((one for one in found if one is not None), key=lambda one: one.node)),
        failover,
        request,
    )


def _report(entry: Mapping[str, Any]) -> Report | None:
    try:
        role = GroupRole(entry.get("role", ""))
    except ValueError:
        return None
    addresses = set()
    for text in entry.get("addresses") or []:
        with contextlib.suppress(ValueError):
            addresses.add(ip_address(text))
    lacking = entry.get("lacking")
    return Report(
        entry.get("node", ""),
        role,
        frozenset(addresses),
        entry.get("caughtUp") or "",
        lacking if isinstance(lacking, int) else 0,
        entry.get("yieldsTo") or "",
        (entry.get("mirror") or {}).get("state") in (MirrorState.BEHIND, MirrorState.UNKNOWN),
    )
