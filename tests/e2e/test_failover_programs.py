"""Programs of the active director are killed or stand still: the agent's moves nothing, keepalived's moves at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest

from e2e.pair import DIRECT, VIPS, Pair, other
from e2e.world import eventually
from failover import history, nemesis
from failover.subject import DIRECTORS

STILL = 30.0
"""Seconds that an agent stands still: longer than any of its own time-outs."""


def test_an_agent_that_is_killed_moves_nothing_and_the_next_one_adopts_what_is_there(pair: Pair) -> None:
    active = pair.active()
    agent = pair.lab.agents[active]
    with pair.watched(), pair.connections() as clients:
        agent.stop(SIGKILL)
        pair.note("agent killed", director=active)
        time.sleep(4)
        mark = agent.log.stat().st_size
        agent.start()
        eventually(lambda: "synchronised" in agent.log.read_text()[mark:], 30, "the next agent is at work")
        time.sleep(2)
        pair.note("agent is back", log=agent.log.read_text()[mark:].splitlines())
        lost = clients.use()
    pair.moved(active)
    pair.check(lost)
    written = [line for line in agent.log.read_text()[mark:].splitlines() if "kernel written" in line]
    assert written == []
    assert pair.status()["activeDirector"] == active


def test_agents_that_stand_still_move_nothing_and_keep_nobody_from_failing_over(pair: Pair) -> None:
    """Neither that of the active director, nor that of the one that takes over."""
    active = pair.active()
    agents = [pair.lab.agents[name] for name in DIRECTORS]
    with pair.watched(), pair.connections() as clients:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda agent: agent.signal(SIGSTOP), agents))
        pair.note("agents stand still")
        try:
            time.sleep(STILL)
            assert pair.active() == active
            with nemesis.cut(pair.lab, active):
                pair.note("cables are pulled", director=active)
                lost = clients.use()
                assert pair.active() == other(active)
        finally:
            for agent in agents:
                agent.signal(SIGCONT)
        pair.note("agents go on")
        pair.becomes(other(active), "Active")
        pair.becomes(active, "Standby")
    pair.moved(active, other(active))
    pair.check(lost)
    last = pair.status()["lastFailover"]
    assert (last["node"], last["before"]) == (other(active), active)


def test_a_director_whose_agent_stands_still_can_be_asked_to_hand_over(pair: Pair) -> None:
    """It is the one to be rid of: after some seconds without its answer the standby takes over all the same."""
    active = pair.active()
    agent = pair.lab.agents[active]
    with pair.watched(), pair.connections() as clients:
        agent.signal(SIGSTOP)
        pair.note("agent stands still", director=active)
        try:
            said = pair.command("failover", "default", "--reason", "its agent does not answer")
            lost = clients.use()
            pair.becomes(other(active), "Active")
        finally:
            agent.signal(SIGCONT)
        pair.note("agent goes on")
        pair.becomes(active, "Standby")
    pair.moved(active, other(active))
    pair.check(lost)
    assert f"{other(active)} is active instead of {active}" in said
    assert pair.status()["lastFailover"]["message"] == "its agent does not answer"


def test_when_keepalived_and_its_supervisor_end_together_the_agent_takes_the_addresses_off(pair: Pair) -> None:
    active = pair.active()
    with pair.watched(), pair.connections() as clients:
        at = nemesis.kill_together(pair.lab, active, "supervisor", "keepalived")
        pair.note("killed together", director=active, at=at)
        lost = clients.use()
        eventually(lambda: not any(pair.holds(active, vip) for vip in VIPS), 5, "no address stays behind")
        assert pair.active() == other(active)
        pair.becomes(active, "NotReady")
        pair.states("killed together")
        pair.lab.keepalived[active].start()
        pair.becomes(active, "Standby")
        time.sleep(1)
    pair.check(lost, history.one_owner(pair.history, BOTH), *(_moved(pair, vip, other(active)) for vip in VIPS))


BOTH = 3.0
"""Seconds for which both may answer: the agent looks every quarter of a second, and gives keepalived one."""


def _moved(pair: Pair, vip: str, to: str) -> list[str]:
    last = pair.history.owners(vip).last
    return [] if last == to else [f"{vip} was held by {last} at last, not by {to}"]


@pytest.mark.parametrize("program", ["vrrp", "keepalived", "supervisor"])
def test_when_keepalived_is_killed_the_other_takes_over_and_no_address_stays_behind(pair: Pair, program: str) -> None:
    """`vrrp` is the process that speaks, `keepalived` its parent, and the supervisor is ours."""
    active = pair.active()
    keepalived = pair.lab.keepalived[active]
    with pair.watched(), pair.connections() as clients:
        pair.note("killed", program=program, director=active)
        if program == "supervisor":
            nemesis.kill(pair.lab, active, program)
        else:
            keepalived.kill(program)
        lost = clients.use()
        eventually(lambda: not any(pair.holds(active, vip) for vip in VIPS), 3, "no address stays behind")
        assert pair.active() == other(active)
        if program == "supervisor":
            eventually(lambda: pair.report(active)["reason"] == "KeepalivedDown", 40, "KeepalivedDown in status")
            assert pair.report(active)["role"] == "NotReady"
            keepalived.start()
        pair.becomes(active, "Standby")
        time.sleep(1)
    pair.moved(active, other(active))
    pair.check(lost)
    assert pair.holds(other(active), DIRECT)
