"""What a node is to its groups: who lacks connections may not take over, who already may is not called back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from unit.builders import Json, Nobody, director_group, node, store, virtual_server
from virtualserver.agent.lacking import Lacking
from virtualserver.agent.record import Record
from virtualserver.agent.standing import Standings
from virtualserver.agent.steadiness import Steadiness
from virtualserver.agent.terms import Terms
from virtualserver.kernel.fake import FakeKernel
from virtualserver.model.failover import Instance, SyncRole, token
from virtualserver.model.types import State
from virtualserver.plan import desired
from virtualserver.plan.desired import Circumstances
from virtualserver.plan.eligibility import Standing
from virtualserver.plan.health import UNCHECKED
from virtualserver.plan.verdicts import judge
from virtualserver.plan.world import World

GROUP = frozenset({"default"})
ACTIVE = State(addresses=frozenset({token(51)}))


class Behind:
    """A mirror that lacks connections, and hears nothing."""

    def __init__(self) -> None:
        self.lapsed: set[str] = set()
        self.is_deaf = False

    def behind(self, group: str) -> bool:
        return True

    def deaf(self, group: str) -> bool:
        return self.is_deaf

    def lapse(self, groups: Iterable[str]) -> None:
        self.lapsed |= set(groups)


def world(mirrored: bool = True) -> World:
    servers = [virtual_server(connectionMirroring=mirrored)]
    return store(virtual_servers=servers, groups=[director_group()], nodes=[node()]).world()


class Case:
    def __init__(self, folder: Path, node_name: str = "director-1") -> None:
        self.taken, self.mirror, self.now = False, Behind(), 0.0
        self.silence: float | None = None
        terms = Terms(FakeKernel(), Record(folder / "record.json"), lambda _: self.taken, lambda: 0.0)
        able = Lacking(node_name, lambda: self.now)
        self.standings = Standings(
            terms, Steadiness(), self.mirror, able, Nobody(), lambda _: self.silence, lambda: self.now
        )

    def look(self, actual: State, *, mirrored: bool = True) -> Standing:
        return self.standings.look(world(mirrored), "director-1", actual, GROUP if mirrored else ())


def test_who_lacks_connections_is_behind(tmp_path: Path) -> None:
    assert Case(tmp_path).look(State()).behind == GROUP


def test_who_may_hold_the_addresses_already_is_not_called_back(tmp_path: Path) -> None:
    assert Case(tmp_path).look(State(eligible=GROUP)).behind == frozenset()


def test_without_mirroring_nobody_is_behind(tmp_path: Path) -> None:
    assert Case(tmp_path).look(State(), mirrored=False).behind == frozenset()


def test_nobody_is_heard_for_longer_than_a_take_over_lasts(tmp_path: Path) -> None:
    case = Case(tmp_path)
    for case.silence, silent in ((None, False), (2.3, False), (2.5, True)):
        assert bool(case.look(State()).silent) is silent
    assert not case.look(State(electing=False)).silent, "its keepalived does not listen"


def test_who_took_over_from_silence_goes_on_when_another_one_is_heard_again(tmp_path: Path) -> None:
    """Otherwise both would let go, each for the other, and forget their connections."""
    case = Case(tmp_path)
    case.silence = 3.0
    assert case.look(State()).silent == GROUP
    case.silence = 0.0
    assert case.look(ACTIVE).silent == GROUP
    case.taken = True
    assert not case.look(State()).silent
    case.silence = 3.0
    assert not case.look(ACTIVE).silent, "it is active for another reason"


def test_who_took_over_from_silence_and_loses_its_link_for_a_moment_takes_back(tmp_path: Path) -> None:
    """Since then it has heard nobody, which alone would say nothing yet."""
    case = Case(tmp_path)
    case.silence = 3.0
    case.look(State())
    case.look(ACTIVE)
    case.silence = None
    assert case.look(State()).silent == GROUP
    case.silence = 0.0
    assert case.look(ACTIVE).silent == GROUP
    case.taken = True
    assert not case.look(State()).silent, "another one has them"


def test_who_is_active_has_all_connections_until_its_term_has_ended(tmp_path: Path) -> None:
    case = Case(tmp_path)
    assert case.look(ACTIVE).behind == frozenset()
    assert case.mirror.lapsed == GROUP
    case.mirror.lapsed, case.taken = set(), True
    assert case.look(State()).purging == GROUP
    assert case.mirror.lapsed == GROUP, "what it is given while it forgets is lost again"


def asked(
    role: str, interval: str = "100ms", request: str = "7", more: Json | None = None, last: Json | None = None
) -> World:
    """Another director that was asked to take over, is ready to, and says so."""
    group = director_group(vrrp={"routerId": 51, "advertisementInterval": interval})
    entries = [
        {"node": "director-1", "role": role, "reason": "", "message": "", "caughtUp": request},
        {"node": "director-2", "role": "Standby", "reason": "", "message": "", "caughtUp": request},
    ]
    group["status"] |= {"directors": entries} | ({"lastFailover": last} if last else {})
    group["status"] |= {"failoverRequest": {"id": request, "to": "", "reason": "r", **(more or {})}} if request else {}
    return store(groups=[group], nodes=[node(), node("director-2", "10.0.0.12")]).world()


@pytest.mark.parametrize(("interval", "patience"), [("100ms", 2.4), ("1s", 6)])
def test_a_director_that_is_to_be_displaced_lets_go_by_itself_when_it_has_waited_long_enough(
    tmp_path: Path, interval: str, patience: float
) -> None:
    case = Case(tmp_path)
    case.standings.look(asked("Active", interval, ""), "director-1", ACTIVE)
    known = asked("Active", interval)
    for case.now, overdue in ((1.0, frozenset()), (patience + 0.9, frozenset()), (patience + 1.1, GROUP)):
        assert case.standings.look(known, "director-1", ACTIVE).overdue == overdue


def test_a_director_that_let_go_in_vain_does_not_do_so_again(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.standings.look(asked("Active", request=""), "director-1", ACTIVE)
    for case.now in (1.0, 4.0):
        found = case.standings.look(asked("Active"), "director-1", ACTIVE)
    assert found.overdue == GROUP
    case.standings.look(asked("Active"), "director-1", State())
    for case.now in (6.0, 10.0):
        assert not case.standings.look(asked("Active"), "director-1", ACTIVE).overdue
    for case.now in (11.0, 14.0):
        found = case.standings.look(asked("Active", request="8"), "director-1", ACTIVE)
    assert found.overdue == GROUP, "another request is another matter"


def test_a_request_that_was_answered_is_not_done_again_after_the_next_failover(tmp_path: Path) -> None:
    """It was written by hand, and nobody has taken it back."""
    case = Case(tmp_path)
    case.standings.look(asked("Active", request=""), "director-1", ACTIVE)
    assert not case.standings.look(asked("Active"), "director-1", ACTIVE).lapsed
    failover = {"node": "director-2", "reason": "Requested", "message": "r", "request": "7"}
    case.standings.look(asked("Standby", last=failover), "director-1", State())
    crash = {"node": "director-1", "reason": "DirectorLost", "message": "m"}
    for case.now in (100.0, 101.0):
        found = case.standings.look(asked("Active", last=crash), "director-1", ACTIVE)
        assert (found.lapsed, found.overdue) == (frozenset({"7"}), frozenset())


def test_a_request_that_stood_before_the_agent_saw_the_present_world_is_an_old_one(tmp_path: Path) -> None:
    """The stored world of an agent that was away for hours does not have it."""
    case = Case(tmp_path)
    case.standings.look(asked("Active", request=""), "director-2", State(), live=False)
    assert case.standings.look(asked("Active"), "director-2", State()).lapsed == {"7"}
    assert "8" not in case.standings.look(asked("Active", request="8"), "director-2", State()).lapsed


@pytest.mark.parametrize(("interval", "more"), [("5s", {}), ("100ms", {"letGoFirst": True})])
def test_who_waits_for_nothing_lets_go_at_once_and_only_once(tmp_path: Path, interval: str, more: Json) -> None:
    case = Case(tmp_path)
    case.standings.look(asked("Active", interval, ""), "director-1", ACTIVE)
    known = asked("Active", interval, more=more)
    assert case.standings.look(known, "director-1", ACTIVE).overdue == GROUP
    let_go = case.standings.look(known, "director-1", State())
    assert (let_go.former, let_go.behind) == (GROUP, frozenset()), "its kernel has all connections"
    assert not case.standings.look(known, "director-1", ACTIVE).overdue


def test_a_director_that_displaces_another_insists_for_some_seconds(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.standings.look(asked("Standby", request=""), "director-1", State())
    for case.now in (1.0, 2.0):
        assert case.standings.look(asked("Standby"), "director-1", State()).displacing == GROUP
    for case.now, insists in ((2.1, True), (4.9, True), (5.1, False)):
        assert (case.standings.look(asked("Active"), "director-1", ACTIVE).displacing == GROUP) == insists


def test_a_failover_that_was_asked_for_before_the_agent_began_is_an_old_one(tmp_path: Path) -> None:
    case = Case(tmp_path)
    found = case.standings.look(asked("Standby"), "director-1", State())
    assert (found.lapsed, found.displacing) == (frozenset({"7"}), frozenset())
    assert case.standings.look(asked("Standby", request="8"), "director-1", State()).displacing == GROUP


def test_an_agent_that_restarts_goes_on_with_what_it_claims(tmp_path: Path) -> None:
    """Else keepalived would be told twice of another priority, and a preferred one that yielded takes back at once."""
    last = Instance("default", 51, "eth0", 100, 3, 250 - 2 * 16)
    found = Case(tmp_path).standings.look(
        asked("Standby", request=""), "director-1", State(instances={"default": last})
    )
    assert found.hesitant == GROUP
    case, more = Case(tmp_path), replace(last, priority=251)
    found = case.standings.look(asked("Active", request=""), "director-1", replace(ACTIVE, instances={"default": more}))
    assert (found.hesitant, found.staying) == (frozenset(), {"default": 251})


def test_an_offer_that_stands_for_long_or_when_an_agent_begins_is_an_old_one(tmp_path: Path) -> None:
    yields = offering("director-1")
    case = Case(tmp_path, "director-2")
    case.standings.look(asked("Active", request=""), "director-2", State())
    for case.now, takes in ((1.0, True), (15.9, True), (16.1, False)):
        found = case.standings.look(yields, "director-2", State())
        assert (found.displacing == GROUP) is takes
    assert not Case(tmp_path, "director-2").standings.look(yields, "director-2", State()).displacing


def offering(node_name: str) -> World:
    """The active director names the other one."""
    group = director_group()
    lacks = {"node": node_name, "role": "Active", "reason": "", "message": "", "lacking": 1, "yieldsTo": "director-2"}
    other = {"node": "director-2", "role": "Standby", "reason": "", "message": ""}
    group["status"] |= {"directors": [lacks, other]}
    return store(groups=[group], nodes=[node(), node("director-2", "10.0.0.12")]).world()


def test_a_receiver_that_is_deaf_is_not_wanted_for_a_moment(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.mirror.is_deaf = True
    known = world()
    for deaf, expected in ((True, {SyncRole.SENDER}), (False, {SyncRole.SENDER, SyncRole.RECEIVER})):
        case.mirror.is_deaf = deaf
        found = Circumstances(standing=case.look(replace(State(), eligible=GROUP)))
        plan = desired.plan(known, judge(known), lambda *_: UNCHECKED, "director-1", found)
        assert {one.role for one in plan.state.daemons} == expected
