"""What a group may choose of its election, with agents at work: unicast, and that a preferred director takes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from e2e.pair import QUICK, SHORT, TURN, TURNS, Pair, in_turn, other
from e2e.world import Json, eventually
from failover import history, nemesis
from failover.quiet import guests_first
from failover.subject import DIRECTORS, connections

LONGEST = 1.5
"""Seconds without an owner that a busy machine may make of 0.33."""
DELAY = 8.0
LATE = 4.0
"""Seconds that a status may come late, or a busy machine be."""
NORMAL: Json = {"unicast": None, "preempt": False, "preemptDelay": None}


@contextmanager
def electing(pair: Pair, line: str, **settings: Any) -> Iterator[None]:
    """The group does so meanwhile; `line` is what both keepalived are told then."""
    with pair.applied(in_turn()):
        try:
            pair.vrrp(QUICK | settings)
            for name in DIRECTORS:
                file = f"{pair.lab.keepalived[name].run_dir}/keepalived.conf"
                read = partial(pair.lab.host(name).run, f"grep -q '{line}' {file}", check=False)
                eventually(lambda read=read: not read().code, 15, f"{name}: {line}")  # type: ignore[misc]  # mypy infers no lambda with defaults
            pair.in_step()
            yield
        finally:
            pair.change({"vrrp": NORMAL})


def test_by_unicast_a_crash_and_a_planned_failover_cost_no_connection(pair: Pair) -> None:
    """By multicast nothing would be heard: the standby would take over from a director that lives."""
    with electing(pair, "unicast_peer", unicast=True):
        active = pair.active(TURN)
        standby = other(active)
        with (
            nemesis.loss(pair.lab, standby, 100, "-p 112 -d 224.0.0.18"),
            pair.watched(*TURNS),
            pair.connections(40, vips=TURNS) as crashed,
            pair.connections(40, vips=TURNS) as planned,
        ):
            time.sleep(2)
            assert pair.holds(active, TURN)
            with guests_first(pair.lab):
                pair.crash(active)
                lost = crashed.use()
            pair.becomes(standby, "Active")
            pair.lab.boot(active)
            pair.in_step(seconds=90)
            pair.command("failover", "default", "--to", active, "--reason", "by unicast")
            lost += planned.use()
            pair.in_step()
            time.sleep(1)
        moves = [history.moved(pair.history, vip, active, standby, active) for vip in TURNS]
        pair.check(lost, *moves, history.one_owner(pair.history, SHORT), history.silent_at_most(pair.history, LONGEST))
        assert pair.status()["lastFailover"]["reason"] == "Requested"


def test_a_preferred_director_that_returns_takes_back_after_its_delay_and_with_all_connections(pair: Pair) -> None:
    preferred, deputy = DIRECTORS
    with electing(pair, "preempt_delay", preempt=True, preemptDelay=f"{DELAY:g}s"):
        eventually(lambda: pair.active(TURN) == preferred, DELAY + LATE, "the preferred one is active")
        pair.in_step()
        with (
            pair.watched(*TURNS),
            pair.connections(40, vips=TURNS) as crashed,
            pair.connections(40, vips=TURNS) as older,
        ):
            time.sleep(1)
            with guests_first(pair.lab):
                pair.crash(preferred)
                lost = crashed.use()
            pair.becomes(deputy, "Active")
            with pair.connections(40, vips=TURNS) as younger:  # that it has never seen
                pair.lab.boot(preferred)
                pair.becomes(preferred, "Standby", seconds=90)
                caught_up = time.time()
                has = len(connections(pair.lab, preferred))
                assert not pair.holds(preferred, TURN)
                eventually(lambda: pair.active(TURN) == preferred, DELAY + LATE, "it takes back")
                lost += older.use() + younger.use()
                pair.in_step()
            time.sleep(1)
        taken = pair.history.owners(TURN).held[-1].start
        pair.figure("seconds from being able to take over to doing so", taken - caught_up)
        moves = [history.moved(pair.history, vip, preferred, deputy, preferred) for vip in TURNS]
        pair.check(lost, *moves, history.one_owner(pair.history, SHORT), history.silent_at_most(pair.history, LONGEST))
        assert has >= 2 * 40 * len(TURNS), "it had them before it took over"
        assert DELAY - LATE / 2 <= taken - caught_up <= DELAY + LATE
        last = pair.status()["lastFailover"]
        assert (last["node"], last["before"], last["reason"]) == (preferred, deputy, "Preempted")
