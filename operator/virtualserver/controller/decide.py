"""The controller's decisions as pure functions: from the cluster to the statuses that it owns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from virtualserver.api.reasons import ConditionType, Reason
from virtualserver.api.virtualserver import VirtualServerSpec
from virtualserver.controller import groups
from virtualserver.controller.findings import degraded, told
from virtualserver.model.types import IPAddress
from virtualserver.plan import directors
from virtualserver.plan import groups as verdicts_on_groups
from virtualserver.plan.findings import Finding
from virtualserver.plan.forwarding import direct
from virtualserver.plan.groupseen import GroupSeen
from virtualserver.plan.status import condition
from virtualserver.plan.verdicts import Verdict
from virtualserver.plan.world import DirectorGroup, ObjectKey, VirtualServer, World

Json = dict[str, Any]


def virtual_server_status(
    server: VirtualServer, verdict: Verdict, known: Json | None = None, seen: GroupSeen | None = None
) -> Json:
    """Return what the controller always says of a virtual server; ``known`` is its whole status as last seen.

    ``seen`` is what the directors of its group say, None while they contradict each other.
    """
    conditions = [condition(ConditionType.ACCEPTED, verdict.accepted, server.generation)]
    if verdict.accepted.ok:
        conditions.append(condition(ConditionType.RESOLVED_REFS, verdict.resolved, server.generation))
        found = degraded(told(known or {}))
        if found is not None:
            conditions.append(condition(ConditionType.DEGRADED, found, server.generation))
        if server.spec is not None and server.spec.connection_mirroring:
            if seen is None:
                conditions += _standing(known or {}, ConditionType.MIRRORED)
            else:
                conditions.append(_or_unknown(ConditionType.MIRRORED, groups.mirrored(seen), server.generation))
    return {"observedGeneration": server.generation, "conditions": conditions}


def fallback_status(
    server: VirtualServer, verdict: Verdict, unreachable: frozenset[str], ready: str = ""
) -> Json | None:
    """Return what the controller says in the place of a director that is missing or silent; None: it speaks itself.

    ``ready`` is the last reported ``readyRealServers``: of a silent director only the second number still holds.
    """
    if not verdict.accepted.ok:
        why, unknown = Finding(False, Reason.NOT_ACCEPTED, verdict.accepted.message), False
    elif verdict.group is None:
        why, unknown = verdict.resolved, False
    elif verdict.group.active is None:
        text = f"no director of DirectorGroup {verdict.group.name!r} is active"
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
    everyone, directed = frozenset(world.nodes), reporting_groups(world)
    owners = {address: node.name for node in world.nodes.values() for address in node.addresses}
    return {
        key: everyone
        if server.spec is None
        else directed.get(ObjectKey("", server.spec.director_group), frozenset())
        | _receiving(server.spec, verdicts[key], owners)
        for key, server in world.virtual_servers.items()
    }


def reporting_groups(world: World) -> dict[ObjectKey, frozenset[str]]:
    """Return which nodes may report of each director group; all where this version cannot read its spec."""
    return {
        ObjectKey("", name): frozenset(world.nodes if group.spec is None else directors.members(group, world.nodes))
        for name, group in world.groups.items()
    }


def _receiving(spec: VirtualServerSpec, verdict: Verdict, owners: Mapping[IPAddress, str]) -> frozenset[str]:
    """Return the nodes that are real servers, or have pods that are, and take packets as they are."""
    if not direct(spec.forwarding):
        return frozenset()
    candidates = (one for listed in verdict.candidates.values() for one in listed)
    return frozenset(name for one in candidates if (name := one.node or owners.get(one.key.address, "")))


def group_status(
    group: DirectorGroup,
    world: World,
    seen: GroupSeen,
    contradicted: Json | None = None,
) -> Json:
    """Return what the controller says of a director group.

    ``contradicted`` is the whole status while its directors contradict each other: what it says of ``Degraded`` then
    stays, unless one was lost.
    """
    members = directors.members(group, world.nodes)
    accepted = verdicts_on_groups.judge(world)[group.name]
    if accepted.ok and not members:
        accepted = Finding(False, Reason.NO_DIRECTOR, "spec.nodeSelector: no node has these labels")
    conditions = [
        condition(ConditionType.ACCEPTED, accepted, group.generation),
        _or_unknown(ConditionType.AVAILABLE, groups.available(seen), group.generation),
    ]
    most = group.spec.max_directors if group.spec else len(members)
    if accepted.ok:
        wrong = groups.degraded(seen, most, members) if contradicted is None else groups.doubted(seen)
    else:  # what keeps it from having a director at all is what people look for first
        wrong = Finding(True, accepted.reason, accepted.message)
    if wrong is not None:
        conditions.append(condition(ConditionType.DEGRADED, wrong, group.generation))
    else:
        conditions += _standing(contradicted or {}, ConditionType.DEGRADED)
    status: Json = {"observedGeneration": group.generation, "conditions": conditions}
    standbys = groups.standbys(seen)
    return status | ({"standbys": standbys} if standbys else {})


def _or_unknown(kind: ConditionType, found: tuple[Finding, bool], generation: int) -> Json:
    finding, known = found
    return condition(kind, finding, generation) | ({} if known else {"status": "Unknown"})


def _standing(status: Json, kind: ConditionType) -> list[Json]:
    """Return a condition as it stands."""
    return [dict(one) for one in status.get("conditions") or [] if one.get("type") == kind]
