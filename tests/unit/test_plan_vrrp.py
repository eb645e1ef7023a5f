"""Virtual routers of a node, who may speak to them, and what keeps a node from holding addresses."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from unit.builders import Json, director_group, node, store, virtual_server
from virtualserver.api.enums import GroupRole
from virtualserver.api.reasons import Reason
from virtualserver.model.failover import Instance, Member, SyncRole, token
from virtualserver.model.types import LinkAddress, State
from virtualserver.plan import desired, vrrp
from virtualserver.plan.desired import Circumstances, Plan
from virtualserver.plan.eligibility import NO_STANDING, Standing, barred, displaces, heir, role
from virtualserver.plan.findings import Finding
from virtualserver.plan.health import UNMONITORED
from virtualserver.plan.mirroring import TICK
from virtualserver.plan.verdicts import judge
from virtualserver.plan.world import World

OWN = frozenset({LinkAddress("eth0", ip_address("198.18.0.11"), 24), LinkAddress("eth0", ip_address("fe80::11"), 64)})
VIP = LinkAddress("eth0", ip_address("198.18.0.100"), 32)
ROUTER = {"a": Instance("a", 51, "eth0", 100, 3, 250, links=("eth0", "eth1"))}
UNICAST = {"unicast": True}
REQUEST = {"id": "7", "to": "director-2", "reason": "new memory"}


def entry(name: str, role: str = "Standby", *addresses: str, caught_up: str = "", **more: Any) -> Json:
    said = {"node": name, "role": role, "reason": "", "message": "", "addresses": [*addresses], "caughtUp": caught_up}
    return said | more


def world(
    *entries: Json,
    request: Json | None = None,
    answered: str = "",
    cordoned: str = "",
    mirrored: bool = True,
    active: str = "director-1",
    **group: Any,
) -> World:
    made = director_group(**group)
    made["status"] |= {"directors": list(entries), "activeDirector": active}
    made["status"] |= {"failoverRequest": request} if request else {}
    made["status"] |= {"lastFailover": {"node": "director-1", "request": answered}} if answered else {}
    third = any(one["node"] == "director-3" for one in entries)
    nodes = [node(f"director-{number}", f"10.0.0.1{number}") for number in range(1, 4 if third else 3)]
    for one in nodes:
        one["spec"] |= {"unschedulable": True} if one["metadata"]["name"] == cordoned else {}
    return store(virtual_servers=[virtual_server(connectionMirroring=mirrored)], groups=[made], nodes=nodes).world()


def planned(known: World, standing: Standing = NO_STANDING, name: str = "director-1") -> Plan:
    circumstances = Circumstances(own=OWN, standing=standing)
    return desired.plan(known, judge(known), lambda *_: UNMONITORED, name, circumstances)


def test_every_director_programs_the_services_and_tells_keepalived_all_addresses() -> None:
    for name, priority in (("director-1", 250), ("director-2", 234)):
        state = planned(world(), name=name).state
        assert [str(key) for key in state.services if key != TICK] == ["TCP 198.18.0.100:80"]
        assert (state.instances["default"].addresses, state.instances["default"].priority) == ((VIP,), priority)
        assert state.addresses == frozenset(), "it holds none of them yet"


def test_the_active_director_is_the_one_that_holds_the_token() -> None:
    known = world()
    held = State(addresses=frozenset({token(51)}))
    assert vrrp.active(known, "director-1", held) == {"default"}
    assert vrrp.active(known, "node-1", held) == frozenset(), "it is no director, whatever it holds"
    assert planned(known, Standing(frozenset({"default"}))).state.addresses == {VIP, token(51)}


def test_a_token_that_a_dead_keepalived_left_behind_makes_nobody_active() -> None:
    left = State(addresses=frozenset({token(51), VIP}), electing=False)
    assert vrrp.active(world(), "director-1", left) == frozenset()


def test_times_and_order_are_as_the_group_says() -> None:
    settings = {
        "routerId": 7,
        "advertisementInterval": "250ms",
        "missedAdvertisements": 2,
        "preempt": True,
        "preemptDelay": "5s",
    }
    one = planned(world(vrrp=settings)).state.instances["default"]
    assert (one.router_id, one.interval, one.missed, one.preempt_delay) == (7, 250, 2, 5.0)
    assert planned(world()).state.instances["default"].preempt_delay is None


def test_unicast_goes_to_the_others_addresses_on_the_same_network() -> None:
    said = entry("director-2", "Standby", "198.18.0.12", "198.18.1.12")
    one = planned(world(said, vrrp={"unicast": True})).state.instances["default"]
    assert (str(one.source), [str(peer) for peer in one.peers]) == ("198.18.0.11", ["198.18.0.12"])


def test_with_unicast_a_new_address_is_not_spoken_from_before_the_others_know_it() -> None:
    """A second lease, say, that sorts before the address from which it has spoken: it would be taken for a stranger."""
    own = OWN | {LinkAddress("eth0", ip_address("198.18.0.5"), 24)}

    def source(*told: str) -> str:
        known = world(entry("director-1", "Active", *told), entry("director-2", "Standby", "198.18.0.12"), vrrp=UNICAST)
        plan = desired.plan(known, judge(known), lambda *_: UNMONITORED, "director-1", Circumstances(own=own))
        return str(plan.state.instances["default"].source)

    assert source("198.18.0.11", "fe80::11") == "198.18.0.11"
    assert source("198.18.0.5", "198.18.0.11") == "198.18.0.5"
    assert source() == "198.18.0.5", "it has told nobody anything"


def test_with_unicast_and_nobody_to_send_to_it_is_not_ready() -> None:
    unicast = {"unicast": True}
    far = entry("director-2", "Standby", "203.0.113.12")
    found = planned(world(far, vrrp=unicast)).groups["default"]
    text = "spec.vrrp.unicast: no address of another director is in the network of this node's link eth0"
    assert found == Finding(False, Reason.NO_PEERS, text)
    assert planned(world(far, entry("director-3", "Standby", "198.18.0.13"), vrrp=unicast)).groups["default"] is None
    assert planned(world(far, vrrp=unicast), ACTIVE).groups["default"] is None, "who is active goes on"
    assert planned(world(far, maxDirectors=1, vrrp=unicast)).groups["default"] is None, "there is nobody else"


def test_a_director_that_has_lost_its_ipv4_address_does_not_change_to_ipv6() -> None:
    """It would hear nobody there, and be active beside the others."""
    six = frozenset({LinkAddress("eth0", ip_address("fe80::11"), 64), LinkAddress("eth1", ip_address("10.9.9.1"), 24)})

    def found(*addresses: str) -> tuple[int, Finding | None]:
        known = world(entry("director-2", "Active", *addresses), active="director-2")
        circumstances = Circumstances(own=six)
        plan = desired.plan(known, judge(known), lambda *_: UNMONITORED, "director-1", circumstances)
        return plan.state.instances["default"].version, plan.groups["default"]

    assert found() == (6, None)
    assert found("fe80::12") == (6, None)
    assert found("fe80::12", "10.9.9.2") == (6, None), "that one is on the link for mirroring"
    version, why = found("fe80::12", "198.18.0.12")
    assert version == 4
    assert why is not None
    assert (why.ok, why.reason) == (False, Reason.NO_PEERS)
    assert "link eth0 has no IPv4 address" in why.message


def test_vrrp_is_taken_from_all_until_every_directors_address_is_known() -> None:
    assert not any(one.port == 0 for one in planned(world()).state.rules.members)
    found = planned(world(entry("director-2", "Standby", "198.18.0.12"))).state.rules.members
    assert Member("eth0", ip_address("198.18.0.12")) in found
    assert Member("eth0", ip_address("198.18.0.11")) in found


def test_mirrored_connections_are_taken_from_nobody_who_is_not_known() -> None:
    ports = {(str(one.source), one.port) for one in planned(world()).state.rules.members}
    assert ("198.18.0.11", 8848) in ports
    assert ("198.18.0.12", 8848) not in ports


def test_both_halves_of_mirroring_run_on_every_director() -> None:
    daemons = {one.role: one for one in planned(world(mirroring={"interface": "eth1"})).state.daemons}
    assert set(daemons) == {SyncRole.SENDER, SyncRole.RECEIVER}
    assert (daemons[SyncRole.SENDER].sync_id, daemons[SyncRole.RECEIVER].sync_id) == (51, 0)
    assert daemons[SyncRole.SENDER].link == "eth1"


def test_where_connections_are_mirrored_the_newest_are_pushed_out_and_nobody_owns_what_does_it() -> None:
    plan = planned(world())
    assert TICK in plan.state.services
    assert TICK not in plan.needed
    (sender,) = (one for one in plan.state.daemons if one.role is SyncRole.SENDER)
    assert sender.max_length == 1, "an entry waits for no other"
    assert TICK not in planned(world(mirrored=False)).state.services


def test_while_a_former_term_is_forgotten_nothing_is_programmed_and_nothing_received() -> None:
    plan = planned(world(), Standing(purging=frozenset({"default"})))
    assert plan.state.services.keys() == {TICK}
    assert plan.state.ending == planned(world()).state.services.keys() - {TICK}
    assert {one.role for one in plan.state.daemons} == {SyncRole.SENDER}
    assert plan.state.sysctls["net.ipv4.vs.expire_nodest_conn"] == "1"
    assert plan.state.eligible == frozenset()


ACTIVE = Standing(frozenset({"default"}))
OVERDUE = Standing(frozenset({"default"}), overdue=frozenset({"default"}))
FORMER = Standing(former=frozenset({"default"}))
SLOW = {"routerId": 51, "advertisementInterval": "5s"}
ONE = entry("director-1", "Active")
READY = entry("director-2", caught_up="7")
LACKS = entry("director-1", "Active", lacking=1)
YIELDS = LACKS | {"yieldsTo": "director-2"}
OFFER = "default: director-1 yields to director-2"
HESITANT = Standing(hesitant=frozenset({"default"}))


@pytest.mark.parametrize(
    ("known", "standing", "reason"),
    [
        (world(), ACTIVE, None),
        (world(), Standing(purging=frozenset({"default"})), Reason.PURGING),
        (world(), Standing(behind=frozenset({"default"})), Reason.CATCHING_UP),
        (world(entry("director-2", "Active")), Standing(held={"default": "eth0 flaps"}), Reason.HELD_DOWN),
        (world(READY), Standing(held={"default": "eth0 flaps"}), None),
        (world(), Standing(held={"default": "eth0 flaps"}), None),
        (world(READY, request=REQUEST), ACTIVE, None),
        (world(READY, request=REQUEST), OVERDUE, Reason.FAILOVER_REQUESTED),
        (world(READY, request=REQUEST | {"to": ""}), OVERDUE, Reason.FAILOVER_REQUESTED),
        (world(READY, request=REQUEST), FORMER, None),
        (world(READY, cordoned="director-1"), FORMER, None),
        (world(entry("director-2"), request=REQUEST), OVERDUE, None),
        (world(entry("director-2", "NotReady", caught_up="7"), request=REQUEST), OVERDUE, None),
        (world(READY, request=REQUEST, answered="7"), OVERDUE, None),
        (world(READY, request=REQUEST), replace(OVERDUE, lapsed=frozenset({"7"})), None),
        (world(READY, request=REQUEST | {"to": "director-1"}), Standing(), None),
        (world(ONE, READY, cordoned="director-1"), ACTIVE, None),
        (world(ONE, READY, cordoned="director-1"), OVERDUE, Reason.NODE_CORDONED),
        (world(entry("director-1"), READY, cordoned="director-1"), Standing(), Reason.NODE_CORDONED),
        (world(ONE, entry("director-2", "NotReady"), cordoned="director-1"), OVERDUE, None),
        (world(ONE, cordoned="director-1"), OVERDUE, None),
        (world(READY, request=REQUEST | {"to": "nobody"}), Standing(), None),
    ],
)
def test_who_must_not_hold_addresses(known: World, standing: Standing, reason: Reason | None) -> None:
    found = barred(known, known.groups["default"], "director-1", standing)
    assert (found.reason if found else None) == reason


SILENT = frozenset({"default"})


@pytest.mark.parametrize(
    ("known", "standing"),
    [
        (world(entry("director-2", "Active")), Standing(held={"default": "eth0 flaps"}, silent=SILENT)),
        (world(entry("director-1"), READY, cordoned="director-1"), Standing(silent=SILENT)),
        (world(READY, request=REQUEST | {"to": "director-2"}), Standing(silent=SILENT)),
    ],
)
def test_whatever_keeps_a_director_from_the_addresses_does_not_when_nobody_is_heard(
    known: World, standing: Standing
) -> None:
    """What the status tells is old where the API server is away, or the active director has just died."""
    group = known.groups["default"]
    assert barred(known, group, "director-1", replace(standing, silent=frozenset())) is not None
    assert barred(known, group, "director-1", standing) is None


def test_of_directors_that_are_all_held_down_one_serves_all_the_same() -> None:
    """As when the switch that all of them hang on restarts: who would take over from it is not what it waits for."""
    held = Standing(held={"default": "eth0 flaps"})
    known = world(entry("director-1"), READY)
    here = {name: barred(known, known.groups["default"], name, held) for name in ("director-1", "director-2")}
    assert here["director-1"] is None
    assert here["director-2"] is not None
    known = world(entry("director-1"), entry("director-2", "NotReady"))
    assert barred(known, known.groups["default"], "director-1", held) is None
    assert planned(known, held).state.instances["default"].priority < 234, "one that need not rest goes first"


@pytest.mark.parametrize(
    ("known", "standing", "expected"),
    [
        (world(ONE, READY), NO_STANDING, False),
        (world(ONE, READY, request=REQUEST), NO_STANDING, True),
        (world(ONE, READY, request=REQUEST | {"to": ""}), NO_STANDING, True),
        (world(ONE, READY, request=REQUEST | {"to": "director-1"}), NO_STANDING, False),
        (world(ONE, entry("director-2", caught_up="6"), request=REQUEST), NO_STANDING, False),
        (world(ONE, READY, request=REQUEST, answered="7"), NO_STANDING, False),
        (world(ONE, READY, request=REQUEST), Standing(lapsed=frozenset({"7"})), False),
        (world(ONE, READY, cordoned="director-1"), NO_STANDING, True),
        (world(ONE, READY, cordoned="director-2"), NO_STANDING, False),
        (world(ONE, READY, entry("director-3", "Active"), cordoned="director-1"), NO_STANDING, True),
        (world(ONE, READY, cordoned="director-1", active="director-3"), NO_STANDING, False),
        (world(ONE, entry("director-2", "NotReady"), cordoned="director-1"), NO_STANDING, False),
        (world(LACKS, READY), NO_STANDING, False),
        (world(YIELDS, READY), NO_STANDING, True),
        (world(YIELDS, READY, cordoned="director-2"), NO_STANDING, False),
        (world(YIELDS, entry("director-2", lacking=1)), NO_STANDING, False),
        (world(YIELDS, entry("director-2", "NotReady")), NO_STANDING, False),
        (world(YIELDS | {"lacking": 2}, entry("director-2", lacking=1)), NO_STANDING, True),
        (world(YIELDS, READY), Standing(lapsed=frozenset({OFFER})), False),
        (world(YIELDS, READY), Standing(lacking={"default": 1}), False),
        (world(YIELDS, READY, active="director-3"), NO_STANDING, False),
    ],
)
def test_a_standby_is_the_heir_of_a_living_director_only_when_that_is_wanted(
    known: World, standing: Standing, expected: bool
) -> None:
    assert heir(known, known.groups["default"], "director-2", standing) == ("director-2" if expected else "")


def test_the_heir_displaces_the_living_director_unless_that_takes_long_or_is_not_wanted() -> None:
    def gently(known: World) -> bool:
        return displaces(known.groups["default"], NO_STANDING)

    assert gently(world(ONE, READY, request=REQUEST))
    assert not gently(world(ONE, READY, request=REQUEST | {"letGoFirst": True}))
    assert not gently(world(ONE, READY, request=REQUEST, vrrp=SLOW))


def test_of_several_heirs_one_that_can_serve_all_goes_first() -> None:
    known = world(ONE, entry("director-2", lacking=1), entry("director-3"), cordoned="director-1")
    assert heir(known, known.groups["default"], "director-2", NO_STANDING) == "director-3"
    asked = {"id": "7", "reason": "drill"}
    known = world(ONE, READY | {"lacking": 1}, entry("director-3", caught_up="7"), request=asked)
    assert heir(known, known.groups["default"], "director-2", NO_STANDING) == "director-3"


def test_of_several_heirs_the_one_with_the_highest_priority_goes_first() -> None:
    """Not the first by name: the more groups are older, the further a group's order is turned."""
    known = world(ONE, READY, entry("director-3"), cordoned="director-1", created="2026-03-01T00:00:00Z")
    assert heir(known, known.groups["default"], "director-2", NO_STANDING) == "director-2"
    older = [director_group(f"older-{number}", vrrp={"routerId": number}) for number in (52, 53)]
    known = replace(known, groups={**known.groups, **store(groups=older).world().groups})
    assert heir(known, known.groups["default"], "director-2", NO_STANDING) == "director-3"


def test_who_displaces_another_claims_more_than_any_director_and_waits_for_nothing() -> None:
    def claims(known: World, standing: Standing = NO_STANDING) -> tuple[int, float | None]:
        router = planned(known, standing, "director-2").state.instances["default"]
        return router.priority, router.preempt_delay

    preempting = {"routerId": 51, "preempt": True, "preemptDelay": "7s"}
    assert claims(world()) == (234, None)
    assert claims(world(), Standing(displacing=frozenset({"default"}))) == (254, 0.0)
    assert claims(world(vrrp=preempting)) == (234, 7.0)
    assert claims(world(vrrp=preempting), FORMER) == (234, None), "nor does one that has just let go"
    assert claims(world(vrrp=preempting, cordoned="director-2")) == (234, None), "a drained one takes nothing back"
    assert claims(world(vrrp=preempting), HESITANT) == (202, None), "one that cannot serve all comes after all others"
    busy = replace(HESITANT, active=frozenset({"default"}))
    assert claims(world(vrrp=preempting), busy) == (234, None), "unless it is active"
    staying = Standing(frozenset({"default"}), staying={"default": 251})
    assert claims(world(), staying)[0] == 251, "more than any that may believe to be active still"


def test_a_standby_that_is_not_meant_stays_out_of_the_way_of_the_one_that_is() -> None:
    known = world(READY, request=REQUEST)
    found = barred(known, known.groups["default"], "director-3", Standing())
    assert found is not None
    assert found.reason is Reason.FAILOVER_REQUESTED


def test_a_failover_to_one_that_cannot_take_over_keeps_nobody_from_it() -> None:
    """The active director may die before the request lapses."""
    known = world(entry("director-2", "NotReady"), entry("director-3"), request=REQUEST)
    assert barred(known, known.groups["default"], "director-3", Standing()) is None


@pytest.mark.parametrize(
    ("actual", "standing", "found", "expected"),
    [
        (
            State(electing=True, eligible=frozenset({"a"})),
            Standing(),
            None,
            (GroupRole.STANDBY, Reason.DIRECTOR_STANDBY),
        ),
        (
            State(electing=True, eligible=frozenset({"a"}), instances=ROUTER, down=frozenset({"eth1"})),
            Standing(),
            None,
            (GroupRole.NOT_READY, Reason.LINK_DOWN),
        ),
        (
            State(electing=True, eligible=frozenset({"a"}), instances=ROUTER, down=frozenset({"eth7"})),
            Standing(),
            None,
            (GroupRole.STANDBY, Reason.DIRECTOR_STANDBY),
        ),
        (
            State(electing=True, eligible=frozenset({"a"})),
            Standing(former=frozenset({"a"})),
            None,
            (GroupRole.NOT_READY, Reason.NO_ACTIVE_DIRECTOR),
        ),
        (State(electing=True), Standing(), None, (GroupRole.NOT_READY, Reason.NOT_PROGRAMMED_YET)),
        (State(electing=False), Standing(), None, (GroupRole.NOT_READY, Reason.KEEPALIVED_DOWN)),
        (State(), Standing(frozenset({"a"})), None, (GroupRole.ACTIVE, Reason.DIRECTOR_ACTIVE)),
        (State(), Standing(), Finding(False, Reason.PURGING, ""), (GroupRole.NOT_READY, Reason.PURGING)),
    ],
)
def test_the_role_of_a_node(
    actual: State, standing: Standing, found: Finding | None, expected: tuple[GroupRole, Reason]
) -> None:
    said, why = role("a", found, standing, actual)
    assert (said, why.reason) == expected
