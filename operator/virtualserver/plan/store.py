"""The objects of the cluster as last seen, parsed once each; a snapshot of them is the ``World``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from virtualserver.plan import world as w
from virtualserver.plan.world import Json, ObjectKey, World

READERS = {
    "VirtualServer": w.virtual_server,
    "DirectorGroup": w.director_group,
    "Node": w.node,
    "Service": w.service,
    "EndpointSlice": w.endpoint_slice,
    "ServiceCIDR": w.service_networks,
}
"""Every kind that decisions look at, and how it is read."""


class Store:
    """Parsed objects by kind and key. Not thread-safe: one task feeds and reads it."""

    def __init__(self) -> None:
        self._parsed: dict[str, dict[ObjectKey, Any]] = {kind: {} for kind in READERS}

    def replace(self, kind: str, objects: Iterable[Json]) -> None:
        """Take a full list of a kind: what is not in it is gone."""
        read = READERS[kind]
        self._parsed[kind] = {w.key_of(obj): read(obj) for obj in objects}

    def put(self, kind: str, obj: Json) -> bool:
        """Take one object; returns False when nothing that we look at has changed."""
        key, value = w.key_of(obj), READERS[kind](obj)
        if self._parsed[kind].get(key) == value:
            return False
        self._parsed[kind][key] = value
        return True

    def drop(self, kind: str, key: ObjectKey) -> None:
        """Forget one object."""
        self._parsed[kind].pop(key, None)

    def world(self) -> World:
        """Return what is known now, as a value that later changes do not touch."""
        parsed = self._parsed
        return World(
            virtual_servers=dict(parsed["VirtualServer"]),
            groups={group.name: group for group in parsed["DirectorGroup"].values()},
            nodes={node.name: node for node in parsed["Node"].values()},
            services=dict(parsed["Service"]),
            slices=dict(parsed["EndpointSlice"]),
            service_networks=tuple(net for nets in parsed["ServiceCIDR"].values() for net in nets),
        )
