"""Nodes are not upgraded all at once: directors whose kernels differ have each other's connections."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from e2e.pair import SHORT, TURN, TURNS, Pair, in_turn, other
from failover import history
from failover.quiet import guests_first
from lab import kernels
from lab.kernels import OWN, Kernel


def release(pair: Pair, director: str) -> tuple[int, ...]:
    """The version of its kernel: major, minor."""
    return tuple(int(part) for part in pair.lab.host(director).run("uname -r").out.split(".")[:2])


@contextmanager
def upgraded(pair: Pair, director: str, kernel: Kernel) -> Iterator[None]:
    """The standby's node runs that kernel meanwhile."""
    try:
        pair.lab.crash(director)
        pair.lab.boot(director, kernel=kernel)
        pair.becomes(director, "Standby", seconds=90)
        yield
    finally:
        if pair.lab.guest_of(director).kernel is not OWN:
            pair.lab.crash(director)
            pair.lab.boot(director)
    pair.becomes(director, "Standby", seconds=90)


def test_a_crash_of_either_of_two_kernels_costs_no_connection(pair: Pair) -> None:
    kernel, older = kernels.newer(), pair.active()
    newer = other(older)
    with upgraded(pair, newer, kernel), pair.applied(in_turn()):
        assert release(pair, newer) > release(pair, older)
        pair.in_step()
        with (
            pair.watched(*TURNS),
            pair.connections(40, vips=TURNS) as first,
            pair.connections(40, vips=TURNS) as second,
        ):
            lost = []
            for active, heir, clients, boots in ((older, newer, first, OWN), (newer, older, second, kernel)):
                time.sleep(2)
                assert pair.holds(active, TURN)
                with guests_first(pair.lab):
                    pair.crash(active)
                    lost += clients.use()
                pair.becomes(heir, "Active")
                pair.lab.boot(active, kernel=boots)
                pair.becomes(active, "Standby", seconds=90)
                pair.in_step()
            time.sleep(1)
        moves = [history.moved(pair.history, vip, older, newer, older) for vip in TURNS]
        pair.check(lost, *moves, history.one_owner(pair.history, SHORT))
