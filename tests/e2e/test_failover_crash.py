"""The active director is lost: its power, its cables. Established connections go on, whatever forwards them."""

from __future__ import annotations

import time

from e2e.pair import DIRECT, QUICK, VIPS, Pair, other
from e2e.world import eventually
from failover import history, nemesis
from failover.quiet import guests_first
from failover.subject import connections

LONGEST = 1.5
"""Seconds without an owner that a busy machine may make of the 0.33 that the defaults take."""


def test_a_crash_costs_no_connection_and_who_returns_stands_by(pair: Pair) -> None:
    pair.vrrp(QUICK)
    active = pair.active()
    with pair.watched(), pair.connections() as clients, pair.datagrams() as dark:
        with guests_first(pair.lab):
            pair.crash(active)
            lost = clients.use()
            pair.becomes(other(active), "Active")
        pair.figure("seconds in which nothing got through", dark()[0])
        pair.lab.boot(active)
        pair.becomes(active, "Standby", seconds=90)
        time.sleep(1)
        pair.states("the crashed one is a standby")
    pair.moved(active, other(active))
    pair.check(lost, history.silent_at_most(pair.history, LONGEST))
    told = pair.status()
    assert (told["activeDirector"], told["standbys"]) == (other(active), active)
    last = told["lastFailover"]
    assert (last["node"], last["before"], last["reason"]) == (other(active), active, "DirectorLost")
    pair.figure("seconds of silence by status.lastFailover", float(last["silent"].removesuffix("s")))
    assert 0.05 < float(last["silent"].removesuffix("s")) < LONGEST


def test_a_director_whose_cables_are_pulled_lets_go_and_does_not_take_back(pair: Pair) -> None:
    pair.vrrp(QUICK)
    active = pair.active()
    with pair.watched(), pair.connections() as clients:
        time.sleep(1)
        with guests_first(pair.lab), nemesis.cut(pair.lab, active):
            pair.note("cables are pulled", director=active)
            lost = clients.use()
            eventually(lambda: not pair.holds(active), 5, "addresses do not stay where there is no link")
            pair.becomes(active, "NotReady")
            pair.states("without a link")
        pair.note("cables are back", director=active)
        pair.becomes(active, "Standby")
        pair.states("the link is back")
    pair.moved(active, other(active))
    pair.check(lost, history.silent_at_most(pair.history, LONGEST))
    eventually(lambda: connections(pair.lab, active) == [], 20, "of connections that clients have ended nothing stays")


def test_one_cable_is_enough_to_lose(pair: Pair) -> None:
    """Towards the real servers: clients would still reach this director, and nobody would answer them."""
    active = pair.active()
    with pair.watched(), nemesis.cut(pair.lab, active, "s"):
        eventually(lambda: pair.active() == other(active), 10, "the other director holds the addresses")
        time.sleep(1)
    pair.moved(active, other(active))
    assert not pair.holds(active, VIPS[1])
    assert pair.holds(other(active), DIRECT)
