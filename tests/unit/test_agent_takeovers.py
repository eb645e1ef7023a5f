"""How a node became the active director of a group is known, and stays known."""

from __future__ import annotations

from typing import Any

from unit.builders import Nobody, director_group, node, store
from virtualserver.agent.takeovers import Takeovers
from virtualserver.api.failover import Failover
from virtualserver.plan.eligibility import NO_STANDING, Standing
from virtualserver.plan.world import World

ACTIVE = Standing(active=frozenset({"default"}))
TOLD = {"node": "director-1", "before": "director-2", "reason": "DirectorLost", "message": "m", "silent": "0.230s"}


def world(last: dict[str, Any] | None = None) -> World:
    group = director_group()
    group["status"] |= {"lastFailover": last} if last is not None else {}
    return store(groups=[group], nodes=[node()]).world()


def takeovers() -> Takeovers:
    return Takeovers("director-1", Nobody(), lambda: "2026-01-01T00:00:00Z")


def test_a_term_that_begins_is_noted_and_ends_with_it() -> None:
    made = takeovers()
    assert made.look(world(), NO_STANDING) == {}
    found = made.look(world(), ACTIVE)["default"]
    assert (found.node, found.reason, made.counts["default"]) == ("director-1", "First", 1)
    assert made.look(world(), NO_STANDING) == {}


def test_an_agent_that_finds_itself_active_repeats_what_the_status_says_of_its_own_term() -> None:
    told = takeovers().look(world(TOLD), ACTIVE)
    assert told == {"default": Failover.model_validate(TOLD)}
    assert takeovers().look(world(TOLD | {"node": "director-2"}), ACTIVE) == {}, "of another's term it says nothing"


def test_what_another_director_wrote_over_it_during_a_partition_is_put_right() -> None:
    made = takeovers()
    before = dict(made.look(world(TOLD), ACTIVE))
    assert made.look(world(TOLD | {"node": "director-2", "before": "director-1"}), ACTIVE) == before
    assert made.look(world(), ACTIVE) == before
