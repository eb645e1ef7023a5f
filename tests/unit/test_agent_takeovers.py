"""How a node became the active director of a group is known, and stays known."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from unit.builders import Nobody, director, director_group, node, store
from virtualserver.agent.takeovers import Takeovers, Witness
from virtualserver.api.failover import Failover
from virtualserver.model.failover import Heard
from virtualserver.plan.eligibility import NO_STANDING, Standing
from virtualserver.plan.world import World

ACTIVE = Standing(active=frozenset({"default"}))
TOLD = {"node": "director-1", "before": "director-2", "reason": "DirectorLost", "message": "m", "silent": "0.230s"}


def world(
    last: dict[str, Any] | None = None,
    *,
    cordoned: bool = False,
    says: dict[str, Any] | None = None,
    asked: dict[str, Any] | None = None,
) -> World:
    group = director_group()
    group["status"] |= {"failoverRequest": asked} if asked is not None else {}
    group["status"] |= {"directors": [says]} if says is not None else {}
    group["status"] |= {"lastFailover": last} if last is not None else {}
    other = node("director-2", "10.0.0.12")
    other["spec"] |= {"unschedulable": True} if cordoned else {}
    return store(groups=[group], nodes=[node(), other]).world()


def takeovers(witness: Witness | None = None, clock: Callable[[], float] = lambda: 20.0) -> Takeovers:
    return Takeovers("director-1", witness or Nobody(), lambda: "2026-01-01T00:00:00Z", clock)


class Before:
    """Another director was heard, and this one began 0.2 s later."""

    def __init__(self, priority: int, *, continues: bool) -> None:
        self._heard = Heard(10.0, ip_address("10.0.0.12"), priority, continues)

    def heard(self, _: int) -> Heard | None:
        return self._heard

    def held_since(self, _: int) -> float | None:
        return 10.2

    def rival(self, _: int) -> Heard | None:
        return self._heard if self._heard.priority else None


@pytest.mark.parametrize(
    ("before", "cordoned", "reason", "silent"),
    [
        (Before(250, continues=False), False, "DirectorLost", "0.200s"),
        (Before(0, continues=True), False, "DirectorYielded", "0.200s"),
        (Before(250, continues=True), False, "Preempted", "0.000s"),
        (Before(250, continues=True), True, "DirectorYielded", "0.000s"),
    ],
)
def test_why_it_became_active_and_for_how_long_nobody_was(
    before: Before, cordoned: bool, reason: str, silent: str
) -> None:
    made = takeovers(before)
    made.look(world(cordoned=cordoned), NO_STANDING)
    found = made.look(world(cordoned=cordoned), ACTIVE)["default"]
    assert (found.before, found.reason, found.silent) == ("director-2", reason, silent)


@pytest.mark.parametrize(("pending_before", "reason"), [(True, "Requested"), (False, "Preempted")])
def test_a_request_is_answered_by_a_node_that_notices_late_that_it_has_taken_over(
    pending_before: bool, reason: str
) -> None:
    """A thousand addresses on a slow machine: the round in which they came began in time, and ended too late."""
    made, lapsed = takeovers(Before(250, continues=True)), frozenset({"7"})
    known = world(asked={"id": "7", "reason": "new firmware"})
    made.look(known, NO_STANDING if pending_before else Standing(lapsed=lapsed))
    found = made.look(known, Standing(active=frozenset({"default"}), lapsed=lapsed))["default"]
    assert (found.reason, found.request) == (reason, "7" if pending_before else None)


def test_who_yields_because_it_cannot_serve_all_is_told_so() -> None:
    lacks = director("director-2", "Active", lacking=2, yieldsTo="director-1")
    made = takeovers(Before(250, continues=True))
    made.look(world(says=lacks), NO_STANDING)
    found = made.look(world(says=lacks), ACTIVE)["default"]
    expected = ("DirectorYielded", "director-2 cannot serve 2 virtual servers of the group")
    assert (found.reason, found.message) == expected


def test_another_one_that_is_heard_to_be_active_for_longer_than_a_hand_over_takes_is_named() -> None:
    times = iter([20.0, 20.9, 21.0])
    made, known = (
        takeovers(Before(250, continues=True), lambda: next(times)),
        world(says=director("director-2", "Active")),
    )
    found = []
    for _ in range(3):
        made.look(known, ACTIVE)
        found.append(made.rivals)
    assert found == [{}, {}, {"default": "director-2"}]


def test_a_term_that_begins_is_noted_and_ends_with_it() -> None:
    made = takeovers()
    assert made.look(world(), NO_STANDING) == {}
    found = made.look(world(), ACTIVE)["default"]
    assert (found.node, found.reason, made.counts["default"]) == ("director-1", "First", 1)
    assert made.look(world(), NO_STANDING) == {}


def test_who_lets_go_in_vain_and_takes_back_goes_on_with_its_term() -> None:
    made = takeovers(Before(250, continues=False))
    made.look(world(), NO_STANDING)
    first = made.look(world(), ACTIVE)
    assert made.look(world(), Standing(former=frozenset({"default"}))) == {}, "it does not say that it is active"
    assert made.look(world(), ACTIVE) == first
    assert made.counts["default"] == 1


def test_an_agent_that_finds_itself_active_repeats_what_the_status_says_of_its_own_term() -> None:
    told = takeovers().look(world(TOLD), ACTIVE)
    assert told == {"default": Failover.model_validate(TOLD)}
    assert takeovers().look(world(TOLD | {"node": "director-2"}), ACTIVE) == {}, "of another's term it says nothing"


def test_what_another_director_wrote_over_it_during_a_partition_is_put_right() -> None:
    made = takeovers()
    before = dict(made.look(world(TOLD), ACTIVE))
    assert made.look(world(TOLD | {"node": "director-2", "before": "director-1"}), ACTIVE) == before
    assert made.look(world(), ACTIVE) == before
