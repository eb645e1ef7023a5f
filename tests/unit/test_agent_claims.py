"""What a director claims that took over from one that fell silent."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from unit.builders import Json, director, director_group, node, store
from virtualserver.agent.claims import Claims
from virtualserver.api.failover import Failover
from virtualserver.api.reasons import Reason
from virtualserver.model.failover import Heard, Instance
from virtualserver.model.types import State
from virtualserver.plan.world import World

LOST = Failover(
    time="2026-01-01T00:00:00Z", node="director-1", before="director-2", reason=Reason.DIRECTOR_LOST, message=""
)
NOTICED = 0.4
"""Seconds in which a crash is noticed with an advertisement every 0.1 s."""


class Case:
    """``director-1`` took over at 10 s from ``director-2``, which was heard last ``silent`` seconds before."""

    def __init__(self, silent: float = NOTICED, priority: int = 250, *groups: Any) -> None:
        self.now, self.silent, self.priority, self.remembers = 10.0, silent, priority, True
        self.groups = groups
        self.vrrp: Json = {}
        self.claims = Claims("director-1", self, lambda: self.now)

    def heard(self, _: int) -> Heard | None:
        return Heard(10.0 - self.silent, ip_address("10.0.0.12"), self.priority) if self.remembers else None

    def held_since(self, _: int) -> float | None:
        return 10.0 if self.remembers else None

    def rival(self, _: int) -> Heard | None:
        return None

    def world(self, role: str, told: Failover | None = LOST) -> World:
        group = director_group(vrrp=self.vrrp)
        group["status"] |= {"directors": [director("director-2", role)]}
        group["status"] |= {"lastFailover": told.wire()} if told is not None else {}
        return store(groups=[group, *self.groups], nodes=[node(), node("director-2", "10.0.0.12")]).world()

    def after(
        self,
        seconds: float,
        role: str = "Active",
        one: Failover = LOST,
        priority: int = 250,
        told: Failover | None = LOST,
        silent: bool = False,
    ) -> int:
        self.now = 10.0 + seconds
        instances = {"default": Instance("default", 51, "eth0", 100, 3, priority)}
        self.claims.look(
            self.world(role, told), State(instances=instances), {"default": one}, {"default"} if silent else ()
        )
        assert self.claims.priorities is not None
        return self.claims.priorities.get("default", 0)


@pytest.mark.parametrize("role", ["Active", "Unknown"])
def test_more_than_the_one_before_as_long_as_that_may_believe_to_be_active(role: str) -> None:
    case = Case()
    assert case.after(1.3, role) == 0, "another group of this node may still be about to notice the same crash"
    assert case.after(1.5, role) == 251
    assert case.after(3600, role) == 251


@pytest.mark.parametrize(("late", "claimed"), [(0.0, 251), (0.29, 251), (0.31, 0)])
def test_where_advertisements_are_frequent_a_busy_node_may_still_be_late(late: float, claimed: int) -> None:
    case = Case(silent=0.16 + late)
    case.vrrp = {"advertisementInterval": "20ms"}
    assert case.after(1.5) == claimed


def test_one_that_took_over_late_because_nobody_was_heard_claims_as_much() -> None:
    """The one before may only have been paused; the wait was this node's own."""
    assert Case(silent=7.5).after(1.5) == 0, "it was parted itself"
    assert Case(silent=7.5).after(1.5, silent=True) == 251
    assert Case(silent=8.5).after(1.5, silent=True) == 0


@pytest.mark.parametrize("role", ["Standby", "NotReady"])
def test_nothing_more_once_that_one_says_that_it_is_not_whatever_it_is_later(role: str) -> None:
    case = Case()
    assert case.after(1.5) == 251
    assert case.after(2, role) == 0
    assert case.after(3) == 0


def test_what_was_said_before_this_term_counts_for_nothing() -> None:
    """The API server is away: the status is old."""
    before = LOST.model_copy(update={"time": "2025-12-31T00:00:00Z"})
    assert [Case().after(2, "Standby", told=told) for told in (None, before)] == [251, 251]


def test_where_the_preferred_one_takes_back_it_may_whatever_became_of_the_one_before() -> None:
    nodes = [node(f"director-{number}", f"10.0.0.1{number}") for number in (1, 2, 3)]
    found = {}
    for preempt in (True, False):
        group = director_group(active="director-3", vrrp={"routerId": 51, "preempt": preempt})
        said = [director("director-1", "Unknown"), director("director-2", "Standby"), director("director-3")]
        group["status"] |= {"directors": said, "lastFailover": LOST.wire()}
        case = Case()
        case.now = 20.0
        claims = Claims("director-3", case, lambda: 20.0)
        one = LOST.model_copy(update={"node": "director-3", "before": "director-1"})
        claims.look(store(groups=[group], nodes=nodes).world(), State(), {"default": one})
        found[preempt] = claims.priorities
    assert found == {True: {}, False: {"default": 251}}


def test_who_is_preferred_is_a_matter_of_priorities_which_differ_between_groups_of_the_same_nodes() -> None:
    """The second group's first director is the second node, and its last one the first."""
    nodes = [node(f"director-{number}", f"10.0.0.1{number}") for number in (1, 2, 3)]
    second = director_group("second", created="2026-01-02T00:00:00Z", vrrp={"routerId": 52, "preempt": True})
    said = [director("director-1"), director("director-2", "Standby"), director("director-3", "Unknown")]
    one = LOST.model_copy(update={"before": "director-3"})
    second["status"] |= {"directors": said, "lastFailover": one.wire()}
    claims = Claims("director-1", Case(), lambda: 20.0)
    claims.look(store(groups=[director_group(), second], nodes=nodes).world(), State(), {"second": one})
    assert claims.priorities == {}


def test_as_long_as_the_cluster_is_not_known_nothing_is_known() -> None:
    case = Case()
    case.claims.look(World(), State(), {})
    assert case.claims.priorities is None


def test_another_term_is_another_matter() -> None:
    case = Case()
    assert case.after(2, "Standby") == 0
    assert case.after(3, one=LOST.model_copy(update={"time": "2026-01-01T01:00:00Z"})) == 251


def test_just_more_than_that_one_so_that_a_preferred_third_one_may_take_over() -> None:
    assert Case(priority=218).after(2) == 219
    assert Case(priority=251).after(2) == 252, "that one had taken over in the same way"
    assert Case(priority=254).after(2) == 253


def test_it_waits_for_the_slowest_group_of_its_node() -> None:
    slow = director_group("slow", created="2026-01-02T00:00:00Z", vrrp={"routerId": 52, "advertisementInterval": "1s"})
    case = Case(NOTICED, 250, slow)
    assert case.after(4.9) == 0
    assert case.after(5.1) == 251


def test_who_was_away_itself_claims_nothing() -> None:
    """Its port was blocked for a while, say: the other one has served everybody meanwhile."""
    assert Case(30).after(40) == 0


@pytest.mark.parametrize("reason", [Reason.REQUESTED, Reason.DIRECTOR_YIELDED, Reason.FIRST, Reason.PREEMPTED])
def test_whoever_gave_the_addresses_away_needs_not_be_kept_out(reason: Reason) -> None:
    assert Case().after(2, one=LOST.model_copy(update={"reason": reason})) == 0


def test_an_agent_that_restarts_goes_on_with_what_it_finds() -> None:
    case = Case()
    case.remembers = False
    assert case.after(2, priority=251) == 251
    assert case.claims.priorities is not None
