"""The active director is lost: its power, its cables. Established connections go on, whatever forwards them."""

from __future__ import annotations

import time

from e2e.pair import BEHIND, DIRECT, QUICK, VIPS, Pair, other
from e2e.world import eventually, virtual_server
from failover import history, nemesis
from failover.quiet import guests_first
from failover.subject import connections

STICKY = "198.18.0.159"
LONGEST = 1.5
"""Seconds without an owner that a busy machine may make of the 0.33 that these settings take."""


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


def test_a_client_stays_with_its_real_server_through_a_crash(pair: Pair) -> None:
    """New connections of its: what is mirrored is its persistence too. By `rr` a table without would send the first
    client that asks to where the first one was sent, which was another."""
    servers = [{"address": one} for one in BEHIND[:2]]
    persistence = {"type": "SourceAddress", "timeout": "90s"}
    sticky = virtual_server(
        "sticky", addresses=[STICKY], realServers=servers, persistence=persistence, connectionMirroring=True
    )
    active = pair.active()
    with pair.applied(sticky), pair.watched(STICKY):
        first, second = _answers(pair, "node-1"), _answers(pair, "client")
        pair.states("two clients have asked")
        pair.crash(active)
        eventually(lambda: pair.holds(other(active), STICKY), 10, "the standby has taken over")
        after = _answers(pair, "client"), _answers(pair, "node-1")
        pair.lab.boot(active)
        pair.becomes(active, "Standby", seconds=90)
    assert len(first) == len(second) == 1
    assert first != second, "or this test shows nothing"
    assert after == (second, first)
    pair.check(history.moved(pair.history, STICKY, active, other(active)))


def _answers(pair: Pair, host: str) -> set[str]:
    """The real servers that answer four requests of a host."""
    asked = f"for i in 1 2 3 4; do curl -sS --max-time 5 http://{STICKY}/ || exit 1; done"
    return set(pair.lab.host(host).run(asked).out.splitlines())
