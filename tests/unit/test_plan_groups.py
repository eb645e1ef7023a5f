"""Which director groups are accepted, and in which words the others are told why not."""

from __future__ import annotations

from typing import Any

import pytest

from unit.builders import Json, director_group, node, store
from virtualserver.api.reasons import Reason
from virtualserver.model.failover import token
from virtualserver.model.types import State
from virtualserver.plan import desired, vrrp
from virtualserver.plan.findings import Finding
from virtualserver.plan.groups import judge, serving
from virtualserver.plan.health import UNMONITORED

OLD, YOUNG = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
OTHER_IDS: Json = {"routerId": 52}


def judged(*groups: Json, nodes: list[Json] | None = None) -> dict[str, Finding]:
    given = [node("director-1"), node("director-2")] if nodes is None else nodes
    return judge(store(groups=list(groups), nodes=given).world())


def young(**spec: Any) -> Finding:
    """What is found of a group beside an older one that has every default, and a gateway."""
    older = director_group("zebra", created=OLD, gateway={"interface": "eth1", "addresses": ["198.18.1.1", "fd00::1"]})
    found = judged(director_group("ant", created=YOUNG, **spec), older)
    assert found["zebra"].ok
    return found["ant"]


def test_a_group_alone_is_accepted_and_its_directors_are_named() -> None:
    assert judged(director_group())["default"] == Finding(True, Reason.ACCEPTED, "directors: director-1, director-2")


def test_groups_that_differ_where_they_must_are_accepted() -> None:
    gateway = {"interface": "eth1", "addresses": ["198.18.1.2"]}
    assert young(vrrp=OTHER_IDS, gateway=gateway, interface="eth0").ok


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        (
            {},
            Reason.ROUTER_ID_IN_USE,
            "spec.vrrp.routerId: 51 is used by DirectorGroup zebra, which is older; choose another",
        ),
        (
            {"vrrp": OTHER_IDS, "mirroring": {"syncId": 51}},
            Reason.SYNC_ID_IN_USE,
            "spec.mirroring.syncId: 51 is used by DirectorGroup zebra, which is older; choose another",
        ),
        (
            {"vrrp": OTHER_IDS, "gateway": {"interface": "eth1", "addresses": ["198.18.1.2", "fd00:0::1"]}},
            Reason.GATEWAY_IN_USE,
            "spec.gateway.addresses: fd00::1 is held by DirectorGroup zebra, which is older; choose another",
        ),
    ],
)
def test_what_only_one_can_have_stays_with_the_older_one(spec: Json, reason: Reason, message: str) -> None:
    assert young(**spec) == Finding(False, reason, message)


def test_a_gateway_that_is_a_nodes_own_address_is_told() -> None:
    """Not refused: a node that joins, or an address that a cloud reports as a node's, would stop a group that runs."""
    nodes = [node("director-1", "198.18.1.11"), node("rs-1", "198.18.1.21")]
    group = director_group(gateway={"interface": "eth1", "addresses": ["198.18.1.1", "198.18.1.21"]})
    found = judged(group, nodes=nodes)["default"]
    assert found.ok
    words = "; spec.gateway.addresses: 198.18.1.21 is an address of node rs-1, which goes on answering"
    assert found.message.endswith(words)


def test_a_sync_id_that_was_left_out_is_the_router_id() -> None:
    old = director_group("a", created=OLD, mirroring={"syncId": 52})
    found = judged(old, director_group("b", created=YOUNG, vrrp=OTHER_IDS))["b"]
    assert found.reason is Reason.SYNC_ID_IN_USE
    assert found.message.startswith("spec.mirroring.syncId: 52 (by default the router id) is used by DirectorGroup a")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"interface": "eth2"}, "spec.mirroring.interface: eth2 differs from eth0 of DirectorGroup zebra"),
        ({"mirroring": {"interface": "eth1"}}, "spec.mirroring.interface: eth1 differs from eth0"),
        ({"mirroring": {"group": "224.0.0.82"}}, "spec.mirroring.group: 224.0.0.82 differs from 224.0.0.81"),
        ({"mirroring": {"port": 8849}}, "spec.mirroring.port: 8849 differs from 8848"),
        ({"mirroring": {"threshold": 3, "period": 50}}, "spec.mirroring.threshold: 3 differs from 0"),
        ({"mirroring": {"period": 50}}, "spec.mirroring.period: 50 differs from 1"),
        ({"mirroring": {"refreshPeriod": "1m"}}, "spec.mirroring.refreshPeriod: 60s differs from 10s"),
        ({"mirroring": {"retries": 3}}, "spec.mirroring.retries: 3 differs from 2"),
    ],
)
def test_groups_that_share_a_director_mirror_in_one_way(spec: Json, words: str) -> None:
    found = young(vrrp=OTHER_IDS, **spec)
    assert found.reason is Reason.MIRRORING_CONFLICT
    assert found.message.startswith(words)
    assert "has director-1 as a director, too" in found.message


def test_they_may_say_the_same_in_other_words() -> None:
    mirroring = {"interface": "eth0", "refreshPeriod": "10000ms"}
    assert young(vrrp=OTHER_IDS, interface="eth2", mirroring=mirroring).ok


def test_groups_of_different_nodes_mirror_as_they_like_and_still_need_ids_of_their_own() -> None:
    edge = node("edge-1")
    edge["metadata"]["labels"] = {"role": "edge"}
    apart: Json = {"nodeSelector": {"role": "edge"}, "mirroring": {"port": 8849}}
    nodes = [node("director-1"), edge]
    old = director_group("a", created=OLD)
    same_id = judged(old, director_group("b", created=YOUNG, **apart), nodes=nodes)["b"]
    assert same_id.reason is Reason.ROUTER_ID_IN_USE, "they may still be on one segment"
    assert judged(old, director_group("b", created=YOUNG, vrrp=OTHER_IDS, **apart), nodes=nodes)["b"].ok


def test_of_two_groups_of_one_second_the_name_decides() -> None:
    found = judged(director_group("b", created=OLD), director_group("a", created=OLD))
    assert (found["a"].ok, found["b"].ok) == (True, False)


def test_a_refused_group_claims_nothing() -> None:
    first, second = director_group("a", created=OLD), director_group("b", created=YOUNG, mirroring={"syncId": 60})
    third = director_group("c", created="2026-01-03T00:00:00Z", vrrp={"routerId": 60})
    found = judged(first, second, third)
    assert [found[name].ok for name in "abc"] == [True, False, True]


def test_a_group_that_cannot_be_read_says_so_and_claims_nothing() -> None:
    found = judged(director_group("a", created=OLD, vrrp={"routerId": 0}), director_group("b", created=YOUNG))
    assert found["a"].reason is Reason.INVALID_SPEC
    assert found["a"].message.startswith("spec.vrrp.routerId")
    assert found["b"].ok


def test_a_refused_group_has_no_virtual_router_and_no_active_director() -> None:
    """Two routers with one id on one link: keepalived would not even start."""
    groups = [director_group("a", created=OLD), director_group("b", created=YOUNG)]
    world = store(groups=groups, nodes=[node("director-1")]).world()
    plan = desired.plan(world, {}, lambda *_: UNMONITORED, "director-1")
    assert list(plan.state.instances) == list(plan.groups) == ["a"]
    assert vrrp.active(world, "director-1", State(addresses=frozenset({token(51)}))) == {"a"}


def test_a_refused_group_takes_no_turn_in_spreading_the_others() -> None:
    names, nodes = {"a": 51, "b": 51, "c": 53}, [node("director-1"), node("director-2")]
    groups = [
        director_group(name, created=f"2026-01-0{number}T00:00:00Z", vrrp={"routerId": router_id})
        for number, (name, router_id) in enumerate(names.items(), 1)
    ]
    world = store(groups=groups, nodes=nodes).world()
    instances = desired.plan(world, {}, lambda *_: UNMONITORED, "director-2").state.instances
    assert {name: one.priority for name, one in instances.items()} == {"a": 234, "c": 250}


def test_preferred_nodes_that_are_no_directors_are_told() -> None:
    spec: Json = {"preferredNodes": ["director-2", "director-9"]}
    assert judged(director_group(vrrp=spec))["default"].message == (
        "directors: director-2, director-1; spec.vrrp.preferredNodes: not among them: director-9"
    )


def test_groups_of_one_world_are_judged_once_and_those_of_another_anew() -> None:
    """A round asks for each of a hundred groups several times."""
    one = store(groups=[director_group()], nodes=[node()]).world()
    other = store(groups=[director_group("other")], nodes=[node()]).world()
    assert serving(one) is serving(one)
    assert (set(serving(other)), set(serving(one))) == ({"other"}, {"default"})
