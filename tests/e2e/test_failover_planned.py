"""Addresses are handed over because somebody wants it: nothing is lost, and hardly anybody notices."""

from __future__ import annotations

import time

import pytest

from e2e.pair import AT_MOST, CLOSELY, PATIENT, Pair, other
from failover.quiet import guests_first

SLOW = PATIENT | {"advertisementInterval": "1000ms"}
"""A crash would cost 2 to 3 s: who hands over waits for nothing."""
NOTICED = 1.0
"""Seconds without an answer at a hand-over that a busy machine may make of some milliseconds."""
UNANSWERED = 4
"""Of the datagrams, one every 5 ms: 20 ms."""


def test_a_planned_failover_keeps_connections_and_the_reason(pair: Pair) -> None:
    pair.vrrp(SLOW)
    active = pair.active()
    with pair.watched(every=CLOSELY), pair.connections(40, "spread=3") as clients, pair.datagrams() as dark:
        with guests_first(pair.lab):
            clients.begin()
            said = pair.command("failover", "default", "--reason", "new memory in its machine")
            lost = clients.lost()
        silence, unanswered = dark()
        pair.states("handed over")
    pair.figure("seconds in which nothing got through", silence)
    pair.figure("datagrams, one every 5 ms, that nobody answered", unanswered)
    pair.handed_over(active, other(active))
    pair.check(lost)
    assert silence < NOTICED
    assert unanswered <= UNANSWERED
    assert f"{other(active)} is active instead of {active}" in said
    told = pair.status()
    last = told["lastFailover"]
    assert (told["activeDirector"], last["node"], last["before"]) == (other(active), other(active), active)
    assert (last["reason"], last["message"]) == ("Requested", "new memory in its machine")
    assert float(last["silent"].removesuffix("s")) <= AT_MOST
    assert "failoverRequest" not in told, "what is done is not asked for any more"


def test_a_drill_measures_a_live_group_and_leaves_it_as_it_was(pair: Pair) -> None:
    """Three times there and back: asked for, so nobody is held down for losing its addresses so often."""
    active = pair.active()
    with pair.watched(), pair.connections(20) as clients:
        said = pair.command("drill", "default", "--times", "3")
        lost = clients.use()
    print(said)
    pair.moved(*[active, other(active)] * 3, active)
    pair.check(lost)
    measured, noticed = said.splitlines()[-2:]
    assert measured.startswith("silent: min 0.")
    assert measured.endswith("failovers: 6")
    assert noticed.startswith("a crash is noticed 0.63 to 0.93 s after it"), "three advertisements, one every 0.3 s"
    assert pair.status()["lastFailover"]["message"] == "drill"


@pytest.mark.parametrize("words", [["cordon"], ["drain", "--ignore-daemonsets"]], ids=lambda words: words[0])
def test_a_node_for_maintenance_hands_over_and_stays_out_until_it_is_uncordoned(pair: Pair, words: list[str]) -> None:
    pair.vrrp(SLOW)
    active = pair.active()
    with pair.watched(every=CLOSELY), pair.connections(40, "spread=3") as clients, pair.datagrams() as dark:
        with guests_first(pair.lab):
            clients.begin()
            pair.lab.kubectl(*words, active)
            pair.note(words[0], node=active)
            try:
                pair.becomes(other(active), "Active", seconds=15)
                lost = clients.lost()
                silence, unanswered = dark()
                pair.becomes(active, "Standby")
                pair.states("cordoned")
            finally:
                pair.lab.kubectl("uncordon", active)
        time.sleep(1)
    pair.figure("seconds in which nothing got through", silence)
    pair.figure("datagrams, one every 5 ms, that nobody answered", unanswered)
    pair.handed_over(active, other(active))
    pair.check(lost)
    assert silence < NOTICED
    assert unanswered <= UNANSWERED
    last = pair.status()["lastFailover"]
    assert last["reason"] == "DirectorYielded"
    assert float(last["silent"].removesuffix("s")) <= AT_MOST


def test_a_cordoned_director_whose_standby_has_just_died_goes_on_serving(pair: Pair) -> None:
    """The standby's last report says for some seconds that it could take over: the addresses are given away in vain."""
    active = pair.active()
    with pair.watched(), pair.connections(20) as clients:
        pair.crash(other(active))
        try:
            pair.lab.kubectl("cordon", active)
            time.sleep(10)
            assert pair.holds(active)
            lost = clients.use()
        finally:
            pair.lab.kubectl("uncordon", active)
            pair.lab.boot(other(active))
    pair.moved(active)
    pair.check(lost)
