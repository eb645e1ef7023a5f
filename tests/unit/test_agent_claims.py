"""What a director claims that took over from one that fell silent."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from unit.builders import director, director_group, node, store
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
"""Seconds in which a crash is noticed at the defaults."""


class Case:
    """``director-1`` took over at 10 s from ``director-2``, which was heard last ``silent`` seconds before."""

    def __init__(self, silent: float = NOTICED, priority: int = 250, *groups: Any) -> None:
        self.now, self.silent, self.priority, self.remembers = 10.0, silent, priority, True
        self.groups = groups
        self.claims = Claims("director-1", self, lambda: self.now)

    def heard(self, _: int) -> Heard | None:
        return Heard(10.0 - self.silent, ip_address("10.0.0.12"), self.priority) if self.remembers else None

    def held_since(self, _: int) -> float | None:
        return 10.0 if self.remembers else None

    def rival(self, _: int) -> Heard | None:
        return None

    def world(self, role: str) -> World:
        group = director_group()
        group["status"] |= {"directors": [director("director-2", role)]}
        return store(groups=[group, *self.groups], nodes=[node(), node("director-2", "10.0.0.12")]).world()

    def after(self, seconds: float, role: str = "Active", one: Failover = LOST, priority: int = 250) -> int:
        self.now = 10.0 + seconds
        instances = {"default": Instance("default", 51, "eth0", 100, 3, priority)}
        self.claims.look(self.world(role), State(instances=instances), {"default": one})
        assert self.claims.priorities is not None
        return self.claims.priorities.get("default", 0)


@pytest.mark.parametrize("role", ["Active", "Unknown"])
def test_more_than_the_one_before_as_long_as_that_may_believe_to_be_active(role: str) -> None:
    case = Case()
    assert case.after(1.3, role) == 0, "another group of this node may still be about to notice the same crash"
    assert case.after(1.5, role) == 251
    assert case.after(3600, role) == 251


@pytest.mark.parametrize("role", ["Standby", "NotReady"])
def test_nothing_more_once_that_one_says_that_it_is_not_whatever_it_is_later(role: str) -> None:
    case = Case()
    assert case.after(1.5) == 251
    assert case.after(2, role) == 0
    assert case.after(3) == 0


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
