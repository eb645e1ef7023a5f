"""Which nodes are directors of a group, and which of them comes first."""

from __future__ import annotations

from typing import Any

import pytest

from unit.builders import Json, director_group, node, store
from virtualserver.api.failover import Vrrp
from virtualserver.plan import directors, vrrp
from virtualserver.plan.world import World

DAYS = {"a": "2026-01-01T00:00:00Z", "b": "2026-01-02T00:00:00Z", "c": "2026-01-03T00:00:00Z"}


def world(count: int = 3, **groups: Any) -> World:
    """Groups by name, older ones earlier in the alphabet; all have the same directors."""
    made = [director_group(name, created=DAYS.get(name, ""), **spec) for name, spec in groups.items()]
    return store(groups=made, nodes=[node(f"director-{number}") for number in range(count, 0, -1)]).world()


def members(**spec: Any) -> list[str]:
    known = world(a=spec)
    return directors.members(known.groups["a"], known.nodes)


def priorities(known: World, name: str) -> dict[str, int]:
    return directors.priorities(known.groups.values(), known.groups[name], known.nodes)


def first(known: World, name: str) -> str:
    return next(iter(priorities(known, name)))


def test_nodes_with_the_labels_are_directors() -> None:
    assert members() == ["director-1", "director-2", "director-3"]
    assert members(nodeSelector={"director": "no"}) == []
    assert members(interface=7) == [], "a group that cannot be read has none"


def test_preferred_nodes_come_first_in_their_order_if_they_have_the_labels() -> None:
    assert members(vrrp={"preferredNodes": ["director-3", "elsewhere", "director-2"]}) == [
        "director-3",
        "director-2",
        "director-1",
    ]


def test_the_number_of_directors_is_limited_from_the_end() -> None:
    assert members(maxDirectors=2) == ["director-1", "director-2"]
    assert members(maxDirectors=1, vrrp={"preferredNodes": ["director-3"]}) == ["director-3"]


def test_the_next_standby_is_heard_before_the_one_after_it_takes_over_too() -> None:
    assert priorities(world(a={}), "a") == {"director-1": 250, "director-2": 234, "director-3": 218}
    most = priorities(world(16, a={}), "a")
    assert sorted(most.values()) == list(range(10, 251, 16))


def test_a_director_that_goes_changes_no_priority_of_those_before_it() -> None:
    assert priorities(world(2, a={}), "a").items() <= priorities(world(3, a={}), "a").items()


def test_groups_on_the_same_nodes_are_spread_over_them() -> None:
    known = world(a={}, b={}, c={})
    assert [first(known, name) for name in "abc"] == ["director-1", "director-2", "director-3"]
    assert priorities(known, "b") == {"director-2": 250, "director-3": 234, "director-1": 218}


def test_more_groups_than_directors_begin_again() -> None:
    known = world(2, a={}, b={}, c={})
    assert [first(known, name) for name in "abc"] == ["director-1", "director-2", "director-1"]


def test_a_younger_group_moves_no_older_one() -> None:
    assert priorities(world(a={}), "a") == priorities(world(a={}, b={}), "a")


def test_groups_without_a_time_are_told_apart_by_name() -> None:
    known = world(x={}, y={})
    assert [first(known, name) for name in "xy"] == ["director-1", "director-2"]


def test_preferences_stand_and_only_the_others_are_spread() -> None:
    known = world(
        a={},
        b={"vrrp": {"preferredNodes": ["director-3"]}},
        c={"vrrp": {"preferredNodes": ["director-1", "director-2", "director-3"]}},
    )
    assert priorities(known, "b") == {"director-3": 250, "director-2": 234, "director-1": 218}
    assert list(priorities(known, "c")) == ["director-1", "director-2", "director-3"]


def test_groups_of_other_nodes_do_not_count() -> None:
    known = world(a={"nodeSelector": {"role": "edge"}}, b={})
    assert first(known, "b") == "director-1"


def test_a_node_that_was_cut_off_has_no_priority() -> None:
    known = world(a={"maxDirectors": 2}, b={"maxDirectors": 2})
    assert [list(priorities(known, name)) for name in "ab"] == [
        ["director-1", "director-2"],
        ["director-2", "director-1"],
    ]


def test_a_group_without_directors_has_no_priorities() -> None:
    assert priorities(world(0, a={}), "a") == {}
    assert priorities(world(a={"interface": 7}), "a") == {}


@pytest.mark.parametrize(
    ("settings", "missed"),
    [
        ({}, 7),
        ({"advertisementInterval": "30ms"}, 4),
        ({"advertisementInterval": "1s"}, 3),
        ({"missedAdvertisements": 4}, 4),
        ({"advertisementInterval": "1s", "missedAdvertisements": 2}, 2),
    ],
)
def test_three_are_missed_or_as_many_as_there_are_until_clients_send_again(settings: Json, missed: int) -> None:
    """A client's kernel does so after 0.2 s; of very short intervals three are soon lost."""
    assert vrrp.missed(Vrrp.model_validate(settings)) == missed
