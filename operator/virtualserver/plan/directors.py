"""Which nodes are directors, and which one is active. VRRP will take the second question over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from virtualserver.plan.world import DirectorGroup, Node


def members(group: DirectorGroup, nodes: Mapping[str, Node]) -> list[str]:
    """Return the names of the nodes that the group's selector matches, sorted."""
    if group.spec is None:
        return []
    wanted = group.spec.node_selector.items()
    return sorted(node.name for node in nodes.values() if wanted <= node.labels.items())


def choose(group: DirectorGroup, nodes: Mapping[str, Node], current: str | None) -> str | None:
    """Return the active director: the current one while it is a member, so that addresses do not move needlessly."""
    candidates = members(group, nodes)
    if current in candidates:
        return current
    return candidates[0] if candidates else None


def priorities(groups: Iterable[DirectorGroup], group: DirectorGroup, nodes: Mapping[str, Node]) -> dict[str, int]:
    """Return the VRRP priority of each director of a group; groups that share directors are spread over them."""
    mine = members(group, nodes)
    sharing = [one for one in groups if set(members(one, nodes)) & set(mine)]
    rank = sorted((one.created, one.name) for one in sharing).index((group.created, group.name))
    turn = rank % len(mine) if mine else 0
    return {name: 250 - place for place, name in enumerate(mine[turn:] + mine[:turn])}
