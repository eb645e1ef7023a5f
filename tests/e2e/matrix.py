"""Ways of forwarding that are tried for every protocol and family: set up together, for setting up takes longest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from e2e.world import Cluster, Json

T = TypeVar("T")
PROTOCOLS = ("TCP", "UDP", "SCTP")
CELLS = [(protocol, version) for protocol in PROTOCOLS for version in (4, 6)]
COUNT = 4
WELL = {"answers": COUNT, "problem": ""}
Cells = dict[tuple[str, int], Json]
"""Answers by protocol and version of IP."""


def exchanges(cluster: Cluster, addresses: dict[int, str], port: int) -> Cells:
    """Real exchanges with an echo service behind virtual addresses (by version of IP), each in every protocol."""
    targets = [(protocol, addresses[version], port) for protocol, version in CELLS]
    return dict(zip(CELLS, cluster.probe(COUNT, targets), strict=True))


class Matrix(Generic[T]):
    """What was seen of each way; those of one group are set up by the first test that asks for one of them."""

    def __init__(
        self, groups: tuple[tuple[str, ...], ...], measure: Callable[[tuple[str, ...]], Iterator[tuple[str, T]]]
    ) -> None:
        self._groups = groups
        self._measure = measure
        self._seen: dict[str, T | None] = {}
        self._again: set[str] = set()

    def of(self, way: str) -> T | None:
        """Return what was seen of a way; None when its group could not be set up, which failed an earlier test."""
        if way not in self._seen:
            group = next(ways for ways in self._groups if way in ways)
            ways = tuple(one for one in group if one not in self._seen)
            self._seen.update(dict.fromkeys(ways))
            self._seen.update(self._measure(ways))
        return self._seen[way]

    def once_more(self, way: str) -> None:
        """Forget a way, once, for the second run of a test: a busy machine may be too slow once."""
        if way not in self._again:
            self._again.add(way)
            del self._seen[way]
