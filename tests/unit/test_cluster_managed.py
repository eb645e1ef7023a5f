from __future__ import annotations

import copy
from typing import Any

import pytest

from unit.fakeapi import managed
from virtualserver.cluster.managed import (
    agent_manager,
    agent_managers,
    condition_path,
    owned,
    owners,
    pruned,
    same,
    stamped,
    version_of,
)

NOW, BEFORE = "2026-02-02T00:00:00Z", "2026-01-01T00:00:00Z"


def status() -> dict[str, Any]:
    return {
        "activeDirector": "n1",
        "conditions": [{"type": "Programmed", "status": "True", "reason": "Programmed", "lastTransitionTime": BEFORE}],
        "realServers": [
            {"address": "198.18.1.21", "port": 80, "state": "Up", "weight": 1, "since": BEFORE},
            {"address": "198.18.1.21", "port": 81, "state": "Down", "weight": 0, "since": BEFORE},
        ],
        "directors": [{"node": "n1", "role": "Active", "announced": ["198.18.0.100"], "reported": BEFORE}],
    }


def obj(*entries: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "a", "managedFields": list(entries)}, "status": status}


def test_a_manager_owns_what_it_applied_and_nothing_else() -> None:
    ours = status()
    seen = copy.deepcopy(ours)
    seen["conditions"].append({"type": "Accepted", "status": "True", "reason": "Accepted"})
    seen["observedGeneration"] = 4
    seen["realServers"].append({"address": "198.18.1.22", "port": 80, "state": "Up", "weight": 1})
    assert same(owned(obj(managed("me", ours), status=seen), "me"), ours)


def test_a_field_that_another_changed_is_owned_no_more() -> None:
    entry = managed("me", status())
    del entry["fieldsV1"]["f:status"]["f:conditions"]['k:{"type":"Programmed"}']["f:status"]
    mine = owned(obj(entry, status=status()), "me")
    assert "status" not in mine["conditions"][0]
    assert not same(mine, status())


@pytest.mark.parametrize(
    "change", [{"operation": "Update"}, {"subresource": ""}, {"manager": "other"}, {"fieldsV1": {"f:status": {}}}]
)
def test_what_was_not_applied_to_the_status_by_us_is_not_ours(change: dict[str, Any]) -> None:
    assert owned(obj(managed("me", status()) | change, status=status()), "me") == {}


def test_an_object_without_status_or_managed_fields_has_no_owner() -> None:
    assert owned({"metadata": {"name": "a"}}, "me") == {}


def test_members_of_a_set_are_found_by_value() -> None:
    entry = {
        "manager": "me",
        "operation": "Apply",
        "subresource": "status",
        "fieldsV1": {"f:status": {"f:names": {'v:"a"': {}}}},
    }
    assert owned(obj(entry, status={"names": ["a", "b"]}), "me") == {"names": ["a"]}


def test_owners_of_a_condition() -> None:
    both = obj(managed("one", status()), managed("two", status()), status=status())
    assert owners(both, *condition_path("Programmed", "status")) == {"one", "two"}
    assert owners(both, *condition_path("Accepted", "status")) == frozenset()


def test_agents_are_known_by_what_they_applied_to_the_status() -> None:
    ours = [managed(agent_manager("n1"), status()), managed("virtualserver-controller", status())]
    others = [managed(agent_manager("n2"), status()) | {"subresource": ""}]
    assert agent_managers(obj(*ours, *others, status=status())) == {"virtualserver-agent-n1"}
    assert agent_managers({"metadata": {"name": "a"}}) == frozenset()


def test_a_node_with_a_long_name_has_a_manager_that_the_server_takes() -> None:
    first, second = (agent_manager("n" * 252 + end) for end in "12")
    assert first != second
    assert max(len(first), len(second), len(agent_manager("n" * 108))) <= 128


def test_the_order_of_keyed_lists_and_empty_members_mean_nothing() -> None:
    other = status()
    other["realServers"].reverse()
    assert same(status() | {"message": None, "addresses": []}, other)
    other["realServers"][0]["weight"] = 7
    assert not same(status(), other)


def test_pruned_keeps_zero_false_and_empty_text() -> None:
    assert pruned({"a": 0, "b": False, "c": "", "d": None, "e": [], "f": {"g": None}}) == {"a": 0, "b": False, "c": ""}


def without_times() -> dict[str, Any]:
    made = status()
    for name, time in (("conditions", "lastTransitionTime"), ("realServers", "since"), ("directors", "reported")):
        for entry in made[name]:
            del entry[time]
    return made


def test_what_stays_the_same_keeps_its_times() -> None:
    assert stamped(without_times(), status(), NOW) == status()


def test_times_that_the_wish_brings_along_give_way_to_those_that_stand() -> None:
    mine = stamped(without_times(), {}, NOW)
    assert stamped(mine, status(), "2027-01-01T00:00:00Z") == status()


def test_a_condition_moves_its_time_only_with_its_status() -> None:
    wish = without_times()
    wish["conditions"][0]["reason"] = "Other"
    assert stamped(wish, status(), NOW)["conditions"][0]["lastTransitionTime"] == BEFORE
    wish["conditions"][0]["status"] = "False"
    assert stamped(wish, status(), NOW)["conditions"][0]["lastTransitionTime"] == NOW


def test_a_real_server_moves_its_time_only_with_its_state() -> None:
    wish = without_times()
    wish["realServers"][0]["weight"] = 9
    wish["realServers"][1]["state"] = "Up"
    first, second = stamped(wish, status(), NOW)["realServers"]
    assert (first["since"], second["since"]) == (BEFORE, NOW)


def test_a_director_moves_its_time_with_anything() -> None:
    wish = without_times()
    wish["directors"][0]["announced"] = []
    assert stamped(wish, status(), NOW)["directors"][0]["reported"] == NOW


def test_a_director_of_a_group_moves_its_time_only_with_its_role() -> None:
    known = {"directors": [{"node": "n1", "role": "Standby", "reason": "R", "since": BEFORE}]}
    wish = {"directors": [{"node": "n1", "role": "Standby", "reason": "Other"}]}
    assert stamped(wish, known, NOW, "DirectorGroup")["directors"][0]["since"] == BEFORE
    wish["directors"][0]["role"] = "Active"
    assert stamped(wish, known, NOW, "DirectorGroup")["directors"] == [
        {"node": "n1", "role": "Active", "reason": "Other", "since": NOW}
    ]


def test_a_failover_has_the_time_at_which_it_was_said_first() -> None:
    known = {"lastFailover": {"node": "n1", "reason": "First", "time": BEFORE}}
    same_one = {"lastFailover": {"node": "n1", "reason": "First"}}
    assert stamped(same_one, known, NOW, "DirectorGroup") == known
    assert stamped({"lastFailover": {"node": "n2"}}, known, NOW)["lastFailover"]["time"] == NOW
    assert "lastFailover" not in stamped({}, known, NOW)


def test_a_list_of_names_is_left_alone() -> None:
    assert stamped({"directors": ["n1"]}, {"directors": ["n2"]}, NOW) == {"directors": ["n1"]}
    assert not same({"directors": ["n1", "n2"]}, {"directors": ["n2", "n1"]})


@pytest.mark.parametrize(("text", "number"), [("17", 17), ("", 0), ("abc", 0)])
def test_version(text: str, number: int) -> None:
    assert version_of({"metadata": {"resourceVersion": text}}) == number
