"""Three directors: whoever is lost, the next one has the addresses and the connections, and only that one."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from e2e.pair import SHORT, Pair
from e2e.trio import GROUP, MEMBERS, THIRD, VIPS, Trio, joined
from failover import history
from failover.quiet import guests_first

FIRST, SECOND = MEMBERS[:2]
LONGEST = 6.0
"""Seconds without an owner that a busy machine may make of the 2 to 3.2 that the group's interval takes."""


@pytest.fixture
def trio(pair: Pair) -> Iterator[Trio]:
    with joined(pair) as made:
        yield made


def test_two_are_lost_one_after_the_other_and_no_connection_with_them(pair: Pair, trio: Trio) -> None:
    with (
        pair.watched(*VIPS),
        pair.connections(40, vips=VIPS) as used_after_one,
        pair.connections(40, vips=VIPS) as used_after_both,
    ):
        time.sleep(1)
        with guests_first(pair.lab):
            pair.crash(FIRST)
            lost = used_after_one.use()
        pair.becomes(SECOND, "Active", GROUP)
        assert trio.owners() == [SECOND], "two could have taken over"
        with pair.connections(40, vips=VIPS) as younger:  # of the second one's own term
            trio.ready(SECOND, THIRD)
            with guests_first(pair.lab):
                pair.crash(SECOND)
                lost += used_after_both.use() + younger.use()
            pair.becomes(THIRD, "Active", GROUP)
        assert trio.owners() == [THIRD]
        last = pair.status(GROUP)["lastFailover"]
        for name in (FIRST, SECOND):
            pair.lab.boot(name)
        trio.ready(THIRD, FIRST, SECOND)
        time.sleep(1)
    moves = [history.moved(pair.history, vip, *MEMBERS) for vip in VIPS]
    one = history.one_owner(pair.history, SHORT)
    pair.check(lost, *moves, one, history.silent_at_most(pair.history, LONGEST))
    assert (last["node"], last["before"], last["reason"]) == (THIRD, SECOND, "DirectorLost")


def test_a_planned_failover_goes_to_the_one_that_is_named(pair: Pair, trio: Trio) -> None:
    """Past one that is more preferred, there and back."""
    with (
        pair.watched(*VIPS),
        pair.connections(40, "spread=3", vips=VIPS) as there,
        pair.connections(40, "spread=3", vips=VIPS) as back,
    ):
        with guests_first(pair.lab):
            there.begin()
            pair.command("failover", GROUP, "--to", THIRD, "--reason", "to the third")
            lost = there.lost()
        trio.ready(THIRD, FIRST, SECOND)
        with guests_first(pair.lab):
            back.begin()
            pair.command("failover", GROUP, "--to", SECOND, "--reason", "not the most preferred one")
            lost += back.lost()
        trio.ready(SECOND, FIRST, THIRD)
        time.sleep(1)
    moves = [history.moved(pair.history, vip, FIRST, THIRD, SECOND) for vip in VIPS]
    pair.check(lost, *moves, history.one_owner(pair.history, SHORT))
    last = pair.status(GROUP)["lastFailover"]
    assert (last["node"], last["before"], last["reason"]) == (SECOND, THIRD, "Requested")
    assert float(last["silent"].removesuffix("s")) <= 0.02


def test_one_that_is_active_and_one_too_many_lets_go_and_costs_no_connection(pair: Pair, trio: Trio) -> None:
    """`maxDirectors` cuts off the last one while it serves."""
    trio.bring(THIRD)
    with pair.watched(*VIPS), pair.connections(40, "spread=4", vips=VIPS) as clients:
        time.sleep(1)
        clients.begin()
        with guests_first(pair.lab):
            pair.change({"maxDirectors": 2}, GROUP)
            pair.becomes(FIRST, "Active", GROUP)
        lost = clients.lost()
        assert trio.owners() == [FIRST]
        trio.ready(FIRST, SECOND)
    moves = [history.moves_at_most(pair.history, 2)]  # on a busy machine the second is quicker by some milliseconds
    one = history.one_owner(pair.history, SHORT)
    pair.check(lost, *moves, one, history.silent_at_most(pair.history, LONGEST))
