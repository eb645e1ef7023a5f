"""Which nodes are directors of a group, and in which order they should be active. Who is active, VRRP settles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from virtualserver.plan.world import DirectorGroup, Node

HIGHEST_PRIORITY, STAYING, TAKING_OVER = 250, 253, 254
"""VRRP: the higher, the sooner a standby takes over, (256 - priority) / 256 of an interval later (RFC 9568, 6.1).
Of two that are active the higher one stays: up to the second is claimed by one that took over from a director that was
not heard any more, the third by one that takes over from one that lives. 255 is for who owns the address."""

APART = 16
"""Of several standbys the next one must be heard before the one after it would take over, too: both would, and one of
them would let go again and forget its connections. A sixteenth of an interval, 1 ms at the default one, is enough for
an advertisement to come and to be read where nodes are not held up, and leaves room for sixteen directors. The same for
two: of these both are standbys when a third one has been active and goes."""


def members(group: DirectorGroup, nodes: Mapping[str, Node]) -> list[str]:
    """Return the names of the group's directors: the preferred ones in their order, then the others by name.

    ``spec.maxDirectors`` cuts off the end.
    """
    if group.spec is None:
        return []
    wanted = group.spec.node_selector.items()
    matching = sorted(node.name for node in nodes.values() if wanted <= node.labels.items())
    preferred = [name for name in group.spec.vrrp.preferred_nodes if name in matching]
    return [*preferred, *(name for name in matching if name not in preferred)][: group.spec.max_directors]


def servers(count: int) -> str:
    """Return how many virtual servers, in words."""
    return f"{count} virtual server{'s' if count > 1 else ''}"


def age(group: DirectorGroup) -> tuple[str, str]:
    """Return what orders groups, older ones first."""
    return group.created, group.name


def priorities(groups: Iterable[DirectorGroup], group: DirectorGroup, nodes: Mapping[str, Node]) -> dict[str, int]:
    """Return the VRRP priority of each director of a group; none twice.

    Preferred nodes come first. The others are rotated by how many of ``groups`` (all that are accepted) share
    directors with this one and are older: so groups without preferences have different active directors.
    """
    if group.spec is None:
        return {}
    order = members(group, nodes)
    older = [
        one
        for one in groups
        if one.name != group.name and age(one) < age(group) and not set(order).isdisjoint(members(one, nodes))
    ]
    named = [name for name in order if name in group.spec.vrrp.preferred_nodes]
    others = order[len(named) :]
    turn = len(older) % len(others) if others else 0
    ordered = [*named, *others[turn:], *others[:turn]]
    return {name: HIGHEST_PRIORITY - APART * place for place, name in enumerate(ordered)}


def preferred(groups: Iterable[DirectorGroup], group: DirectorGroup, nodes: Mapping[str, Node]) -> list[str]:
    """Return the directors of a group, first the one that is to be active."""
    found = priorities(groups, group, nodes)
    return sorted(found, key=lambda name: -found[name])


def priority(
    groups: Iterable[DirectorGroup], group: DirectorGroup, nodes: Mapping[str, Node], node: str, *, last: bool = False
) -> int:
    """Return the VRRP priority of one director; ``last``: it comes after all that are not.

    There is room for that where a group has up to eight directors. In a larger one it keeps its place.
    """
    found = priorities(groups, group, nodes)
    lower = found[node] - APART * len(found)
    return lower if last and min(found.values()) - APART * len(found) > 0 else found[node]
