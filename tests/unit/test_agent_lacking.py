"""What a director says that it cannot serve, and who takes over for that: played with whole groups, by seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from unit.builders import director_group, group_reports, node, store, virtual_server
from virtualserver.agent.groupreports import GroupReports
from virtualserver.agent.lacking import AGAIN, LASTING, OFFER, PATIENCE, Lacking
from virtualserver.model.types import State
from virtualserver.plan import desired
from virtualserver.plan.desired import Circumstances, Plan
from virtualserver.plan.eligibility import Standing, heir
from virtualserver.plan.health import UNMONITORED
from virtualserver.plan.verdicts import judge
from virtualserver.plan.world import ObjectKey, World

WEB = ObjectKey("default", "web")
ONE, TWO, THREE = "director-1", "director-2", "director-3"
ALWAYS = frozenset({"always"})


class Group:
    """Directors of one group that say what is so every second, or every five; an heir that works takes over at once.

    ``lacks`` has for each director when it cannot serve the virtual server: "always", or as "active" or "standby".
    """

    def __init__(self, *names: str, **spec: Any) -> None:
        self.now, self.spec, self.active, self.moves = 0.0, spec, ONE, list[tuple[float, str]]()
        self.lacks: dict[str, frozenset[str]] = {}
        self.dead, self.cordoned = set[str](), set[str]()
        self.request: dict[str, str] = {}
        self.said: dict[str, dict[str, Any]] = {}
        self.told: dict[str, dict[str, Any]] = {name: {} for name in names}
        self.agents: dict[str, GroupReports] = {}
        self.lacking: dict[str, Lacking] = {}
        self._world: tuple[object, World] | None = None
        self._plans: dict[str, Plan] = {}
        for name in names:
            self.restart(name)

    def restart(self, name: str) -> None:
        self.lacking[name] = Lacking(name, lambda: self.now)
        self.agents[name] = group_reports(name, self.told[name], lambda: self.now, self.lacking[name])

    def world(self) -> World:
        basis = repr((self.active, self.said, self.request, self.cordoned))
        if self._world is None or self._world[0] != basis:
            self._world = basis, self._make_world()
        return self._world[1]

    def plan(self, name: str, standing: Standing) -> Plan:
        basis = repr((name, standing, self.cordoned, [(who, said["role"]) for who, said in self.said.items()]))
        if basis not in self._plans:
            world, circumstances = self.world(), Circumstances(standing=standing)
            self._plans[basis] = desired.plan(world, judge(world), lambda *_: UNMONITORED, name, circumstances)
        return self._plans[basis]

    def _make_world(self) -> World:
        group = director_group(active=self.active, **self.spec)
        group["status"] |= {"directors": list(self.said.values())}
        if self.request:
            group["status"]["lastFailover"] = {
                "node": self.active,
                "reason": "Requested",
                "message": "",
                **self.request,
            }
        nodes = [node(name, f"198.18.0.{number}") for number, name in enumerate(self.told, 11)]
        for one in nodes:
            one["spec"] |= {"unschedulable": one["metadata"]["name"] in self.cordoned}
        return store(virtual_servers=[virtual_server()], groups=[group], nodes=nodes).world()

    def pass_(self, seconds: float) -> list[tuple[float, str]]:
        """Let time pass; returns the moves, with their times."""
        until = self.now + seconds
        step = 5.0 if seconds > 2 * AGAIN else 1.0
        while self.now < until:
            self.now += step
            for name in self.agents:
                if name not in self.dead:
                    self._look(name)
        moves, self.moves = self.moves, []
        return moves

    def _look(self, name: str) -> None:
        world, role = self.world(), "active" if name == self.active else "standby"
        group = world.groups["default"]
        standing = Standing(active=frozenset({"default"}) if role == "active" else frozenset())
        if role == "standby" and heir(world, group, name, standing) == name:
            self.active, self.request = name, {}
            self.moves.append((self.now, name))
        problems = [WEB] if self.lacks.get(name, frozenset()) & {"always", role} else []
        eligible = State(electing=True, eligible=frozenset({"default"}))
        self.agents[name].report(world, self.plan(name, standing), standing, eligible, problems)
        self.said[name] = self.told[name]["default"]["directors"][0]


def test_a_director_says_how_many_virtual_servers_it_cannot_serve_once_that_lasts() -> None:
    group = Group(ONE, TWO)
    group.lacks = {ONE: ALWAYS, TWO: ALWAYS}
    group.pass_(LASTING)
    assert [said.get("lacking") for said in group.said.values()] == [None, None]
    group.pass_(1)
    assert [said.get("lacking") for said in group.said.values()] == [1, 1]
    assert group.said[ONE]["message"].endswith("but for 1 virtual server that it cannot serve")
    group.lacks = {}
    group.pass_(1)
    assert [said.get("lacking") for said in group.said.values()] == [None, None]


def test_it_yields_to_one_that_can_serve_all_once_no_try_is_still_to_come() -> None:
    group = Group(ONE, TWO)
    group.pass_(100)
    group.lacks = {ONE: ALWAYS}
    moves = group.pass_(100)
    assert [name for _, name in moves] == [TWO]
    assert PATIENCE <= moves[0][0] - 100 <= PATIENCE + LASTING + 3
    assert group.pass_(3 * AGAIN) == []


def test_the_status_names_who_is_to_take_over() -> None:
    group = Group(ONE, TWO)
    group.lacks = {ONE: ALWAYS}
    group.pass_(PATIENCE)
    group.dead = {TWO}
    group.pass_(LASTING + 2)
    assert group.said[ONE]["yieldsTo"] == TWO
    assert group.said[ONE]["message"].endswith("that it cannot serve; director-2 is to take over")


NOTHING_MOVES: Mapping[str, Mapping[str, frozenset[str]]] = {
    "every director lacks it": {ONE: ALWAYS, TWO: ALWAYS},
    "the standby lacks it": {TWO: ALWAYS},
    "none lacks anything": {},
}


@pytest.mark.parametrize("lacks", NOTHING_MOVES.values(), ids=NOTHING_MOVES)
def test_nothing_moves_where_that_would_make_nothing_better(lacks: Mapping[str, frozenset[str]]) -> None:
    group = Group(ONE, TWO)
    group.lacks = dict(lacks)
    assert group.pass_(3 * AGAIN) == []


def test_a_standby_that_succeeds_a_try_earlier_than_the_active_one_is_not_handed_over_to() -> None:
    group = Group(ONE, TWO)
    group.lacks = {ONE: ALWAYS, TWO: ALWAYS}
    group.pass_(200)
    group.lacks = {ONE: ALWAYS}
    assert group.pass_(PATIENCE - 5) == []
    group.lacks = {}
    assert group.pass_(2 * PATIENCE) == []


def test_what_only_an_active_director_can_lack_moves_the_addresses_once_in_ten_minutes_at_most() -> None:
    group = Group(ONE, TWO)
    group.lacks = {ONE: frozenset({"active"}), TWO: frozenset({"active"})}
    moves = group.pass_(3600)
    assert len(moves) >= 2
    assert all(later[0] - earlier[0] >= AGAIN for earlier, later in zip(moves, moves[1:], strict=False))


def test_what_a_person_chose_stays() -> None:
    group = Group(ONE, TWO)
    group.lacks = {ONE: ALWAYS}
    group.request = {"request": "7"}
    assert group.pass_(2 * AGAIN) == []
    group.lacks = {}
    group.pass_(1)
    group.lacks = {ONE: ALWAYS}
    assert [name for _, name in group.pass_(2 * PATIENCE)] == [TWO]


def test_a_cordoned_standby_is_no_heir_and_a_cordoned_director_hands_over_at_once_to_who_can_serve_all() -> None:
    group = Group(ONE, TWO, THREE)
    group.lacks, group.cordoned = {ONE: ALWAYS, TWO: ALWAYS}, {THREE}
    assert group.pass_(2 * PATIENCE) == []
    group.cordoned = set()
    assert group.pass_(10) == []
    group.cordoned = {ONE}
    assert [name for _, name in group.pass_(2)] == [THREE]
    group.cordoned = {ONE, THREE}
    assert [name for _, name in group.pass_(2)] == [TWO]
    assert group.pass_(2 * AGAIN) == []


def test_an_heir_whose_agent_is_dead_gets_its_chance_and_then_another_one_is_named() -> None:
    group = Group(ONE, TWO, THREE)
    group.pass_(PATIENCE)
    group.lacks, group.dead = {ONE: ALWAYS}, {TWO}
    moves = group.pass_(2 * PATIENCE)
    assert [name for _, name in moves] == [THREE]
    assert moves[0][0] >= 2 * PATIENCE + OFFER


def test_an_agent_that_restarts_moves_nothing() -> None:
    group = Group(ONE, TWO)
    group.lacks = {ONE: ALWAYS, TWO: ALWAYS}
    group.pass_(200)
    for _ in range(10):
        group.restart(TWO)
        assert group.pass_(30) == []


def test_who_lacks_more_than_the_active_one_takes_over_last_and_who_lacks_the_same_in_its_place() -> None:
    group = Group(ONE, TWO)
    group.lacks = {TWO: ALWAYS}
    group.pass_(LASTING + 2)
    assert {name: bool(one.hesitant) for name, one in group.lacking.items()} == {ONE: False, TWO: True}
    group.lacks = {ONE: ALWAYS, TWO: ALWAYS}
    group.pass_(LASTING + 3)
    assert not group.lacking[TWO].hesitant


def test_groups_of_long_intervals_stay_where_they_are() -> None:
    """The active one would have to let go first, whether the other one's agent lives or not."""
    group = Group(ONE, TWO, vrrp={"advertisementInterval": "2s"})
    group.lacks = {ONE: ALWAYS}
    assert group.pass_(3 * PATIENCE) == []


def test_virtual_servers_of_other_groups_do_not_count() -> None:
    group = Group(ONE, TWO)
    elsewhere = ObjectKey("default", "elsewhere")
    world, standing = group.world(), Standing(active=frozenset({"default"}))
    for group.now in (0.0, LASTING):
        group.agents[ONE].report(world, group.plan(ONE, standing), standing, State(), [elsewhere])
    assert "lacking" not in group.told[ONE]["default"]["directors"][0]
