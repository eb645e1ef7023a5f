"""What a director says of itself in the status of its group. Timestamps are added by the writer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from virtualserver.api.enums import GroupRole
from virtualserver.api.failover import DirectorReport, Failover, MirrorReport
from virtualserver.model.types import IPAddress, address_order
from virtualserver.plan.findings import Finding

Json = dict[str, Any]

OWNERSHIP = ("activeDirector", "lastFailover")
"""What only the active director says, and takes over from the one before."""


def group_status(
    node: str,
    role: GroupRole,
    why: Finding,
    *,
    addresses: Iterable[IPAddress] = (),
    priority: int | None = None,
    mirror: MirrorReport | None = None,
    caught_up: str | None = None,
    lacking: int = 0,
    yields_to: str = "",
    failover: Failover | None = None,
) -> Json:
    """Return the part of a group's status that the agent of ``node`` owns.

    ``failover`` says how ``node`` became active, where that is known.
    """
    report = DirectorReport(
        node=node,
        role=role,
        reason=why.reason,
        message=why.message,
        addresses=[str(one) for one in sorted(addresses, key=address_order)],
        priority=priority,
        mirror=mirror,
        caught_up=caught_up,
        lacking=lacking or None,
        yields_to=yields_to or None,
        since=None,
    )
    status: Json = {"directors": [report.wire()]}
    if role is not GroupRole.ACTIVE:
        return status
    status["activeDirector"] = node
    return status | ({"lastFailover": failover.wire()} if failover is not None else {})


def without_ownership(status: Mapping[str, Any]) -> Json:
    """Return what a director says that leaves the ownership to another."""
    return {name: part for name, part in status.items() if name not in OWNERSHIP}


def ownership(status: Mapping[str, Any]) -> Json:
    """Return what an active director says of its ownership; nothing for any other."""
    return {name: status[name] for name in OWNERSHIP if name in status} if "activeDirector" in status else {}
