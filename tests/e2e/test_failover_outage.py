"""Something that failover must not need is away or wrong: the API server, the clock, a program that is upgraded."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from signal import SIGTERM

from e2e.pair import DIRECT, SERVED, VIPS, Pair, other
from e2e.world import eventually
from failover import history, nemesis

NOTICED = 1.0
"""Seconds without an answer that a busy machine may make of the milliseconds of a hand-over."""


def test_without_the_api_server_directors_fail_over_there_and_back(pair: Pair) -> None:
    """The second time to one that was booted meanwhile, and knows its part from its disk."""
    active = pair.active()
    with pair.watched():
        with nemesis.without_api(pair.lab) as began:
            pair.note("the API server is away", at=began)
            with pair.connections() as clients:
                pair.crash(active)
                lost = clients.use()
            assert pair.active() == other(active)
            pair.lab.boot(active)
            eventually(lambda: _could_take_over(pair, active), 60, "it could take over again")
            with pair.connections() as clients, nemesis.cut(pair.lab, other(active)):
                pair.note("cables are pulled", director=other(active))
                lost += clients.use()
                assert pair.active() == active
        pair.note("the API server is back")
        eventually(lambda: pair.status()["activeDirector"] == active, 40, "what happened is told afterwards")
        pair.in_step()
    pair.moved(active, other(active), active)
    pair.check(lost)


def _could_take_over(pair: Pair, director: str) -> bool:
    """By what keepalived is told, and by its kernel: nobody else can be asked."""
    file = f"{pair.lab.keepalived[director].run_dir}/eligible/default"
    allowed = pair.lab.host(director).run(f"cat {file}", check=False).out.strip() == "0"
    return allowed and len(pair.programmed(director)) == sum(len(one["spec"]["realServers"]) for one in SERVED)


def test_clocks_that_jump_by_an_hour_change_nothing(pair: Pair) -> None:
    active = pair.active()
    with pair.watched(), pair.connections(20) as clients:
        with nemesis.clock(pair.lab, active, 3600):
            time.sleep(3)
            with nemesis.clock(pair.lab, other(active), -3600):
                time.sleep(3)
        time.sleep(2)
        lost = clients.use()
    pair.moved(active)
    pair.check(lost)
    eventually(lambda: sorted(pair.roles().values()) == ["Active", "Standby"], 20, "both are as they were")


def test_a_rolling_upgrade_loses_nothing(pair: Pair) -> None:
    """Agent and keepalived of a director end and start again together, as containers of one pod; then the other's."""
    active = pair.active()
    with pair.watched(), pair.connections() as clients, pair.datagrams() as dark:
        for name in (active, other(active)):
            _upgrade(pair, name)
        lost = clients.use()
        silence, _ = dark()
    pair.figure("longest time in which nothing got through", silence)
    assert silence < NOTICED
    pair.moved(active, other(active), active)
    pair.check(lost)


def _upgrade(pair: Pair, director: str) -> None:
    pod = (pair.lab.agents[director], pair.lab.keepalived[director])
    pair.note("upgrade begins", director=director)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda program: program.stop(SIGTERM), pod))
    for program in pod:
        program.start()
    time.sleep(2)
    pair.in_step()
    pair.note("upgraded", director=director)


def test_a_group_of_one_director_is_left_to_that_one(pair: Pair) -> None:
    active = pair.active()
    with pair.watched():
        pair.change({"maxDirectors": 1})
        try:
            eventually(lambda: pair.roles() == {"director-1": "Active"}, 20, "director-1 is the only director")
            eventually(lambda: not any(pair.holds("director-2", vip) for vip in VIPS), 5, "director-2 has let go")
            assert pair.programmed("director-2") == []
            assert pair.condition("Degraded")["reason"] == "DirectorsReady", "as many as there may be"
            pair.states("one director")
        finally:
            pair.change({"maxDirectors": 16})
        pair.in_step()
    pair.check(history.one_owner(pair.history, 1.0))
    assert pair.history.owners(DIRECT).order == list(dict.fromkeys([active, "director-1"]))
