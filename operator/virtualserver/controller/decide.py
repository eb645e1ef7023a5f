"""The controller's decisions as pure functions: from the cluster to the statuses that it owns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from virtualserver.api.reasons import ConditionType, Reason
from virtualserver.api.virtualserver import VirtualServerSpec
from virtualserver.controller.findings import degraded, told
from virtualserver.model.types import IPAddress
from virtualserver.plan import directors, groups
from virtualserver.plan.findings import Finding
from virtualserver.plan.forwarding import direct
from virtualserver.plan.status import condition
from virtualserver.plan.verdicts import Verdict
from virtualserver.plan.world import DirectorGroup, ObjectKey, VirtualServer, World

Json = dict[str, Any]


def virtual_server_status(server: VirtualServer, verdict: Verdict, known: Json | None = None) -> Json:
    """Return what the controller always says of a virtual server; ``known`` is its whole status as last seen."""
    conditions = [condition(ConditionType.ACCEPTED, verdict.accepted, server.generation)]
    if verdict.accepted.ok:
        conditions.append(condition(ConditionType.RESOLVED_REFS, verdict.resolved, server.generation))
        found = degraded(told(known or {}))
        if found is not None:
            conditions.append(condition(ConditionType.DEGRADED, found, server.generation))
    return {"observedGeneration": server.generation, "conditions": conditions}


def fallback_status(
    server: VirtualServer, verdict: Verdict, unreachable: frozenset[str], ready: str = ""
) -> Json | None:
    """Return what the controller says in the place of a director that is missing or silent; None: it speaks itself.

    ``ready`` is the last reported ``readyRealServers``: of a silent director only the second number still holds.
    """
    if not verdict.accepted.ok:
        why, unknown = Finding(False, Reason.NOT_ACCEPTED, verdict.accepted.message), False
    elif verdict.group is None or verdict.group.active is None:
        name = verdict.group.name if verdict.group else "default"
        text = f"no node matches the selector of DirectorGroup {name!r}"
        why, unknown = Finding(False, Reason.NO_DIRECTOR, text), False
    elif verdict.group.active in unreachable:
        text = f"the agent on {verdict.group.active} does not answer; its last report is old"
        why, unknown = Finding(False, Reason.DIRECTOR_UNREACHABLE, text), True
    else:
        return None
    not_available = Finding(False, Reason.NOT_PROGRAMMED if not unknown else why.reason, why.message)
    conditions = [
        condition(ConditionType.PROGRAMMED, why, server.generation),
        condition(ConditionType.AVAILABLE, not_available, server.generation),
    ]
    if not unknown:
        return {"conditions": conditions}
    status: Json = {"conditions": [one | {"status": "Unknown"} for one in conditions]}
    return status | ({"readyRealServers": f"?/{ready.rpartition('/')[2]}"} if ready else {})


def reporting(world: World, verdicts: Mapping[ObjectKey, Verdict]) -> dict[ObjectKey, frozenset[str]]:
    """Return which nodes may report of each virtual server: the directors of its group, and nodes of its real servers.

    All nodes where this version cannot read what decides it: what it does not understand it does not take back.
    """
    everyone = frozenset(world.nodes)
    directed = {
        name: everyone if group.spec is None else frozenset(directors.members(group, world.nodes))
        for name, group in world.groups.items()
    }
    owners = {address: node.name for node in world.nodes.values() for address in node.addresses}
    return {
        key: everyone
        if server.spec is None
        else directed.get(server.spec.director_group, frozenset()) | _receiving(server.spec, verdicts[key], owners)
        for key, server in world.virtual_servers.items()
    }


def _receiving(spec: VirtualServerSpec, verdict: Verdict, owners: Mapping[IPAddress, str]) -> frozenset[str]:
    """Return the nodes that are real servers, or have pods that are, and take packets as they are."""
    if not direct(spec.forwarding):
        return frozenset()
    candidates = (one for listed in verdict.candidates.values() for one in listed)
    return frozenset(name for one in candidates if (name := one.node or owners.get(one.key.address, "")))


def group_status(group: DirectorGroup, world: World, active: str | None) -> Json:
    """Return the status of a director group."""
    finding = groups.judge(world)[group.name]
    if finding.ok and not directors.members(group, world.nodes):
        finding = Finding(False, Reason.NO_DIRECTOR, "spec.nodeSelector: no node has these labels")
    status: Json = {
        "observedGeneration": group.generation,
        "conditions": [condition(ConditionType.ACCEPTED, finding, group.generation)],
    }
    return status | ({"activeDirector": active} if active else {})
