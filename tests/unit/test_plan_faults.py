"""What is wrong, from what was seen: each fault with its reason, and nothing where nothing is wrong."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from unit.builders import WEB, director_group, endpoint, endpoint_slice, node, service, store, virtual_server
from virtualserver.api.reasons import Reason
from virtualserver.model.facts import Answer, Facts, LinkFact, Ping, Route, Trial
from virtualserver.model.failover import token
from virtualserver.model.types import IPAddress, LinkAddress, State, Tunnel
from virtualserver.plan.faults import Fault, confirmed, faults
from virtualserver.plan.preflight import Case, Scene, cases, questions
from virtualserver.plan.verdicts import judge

Json = dict[str, Any]
A = ip_address
VIP, RS = A("198.18.0.100"), A("198.18.0.31")
ETH0 = LinkFact(1500, rp_filter=2, rp_filter_all=2)


def case(on: str = "director-1", group: Json | None = None, **spec: Any) -> Case:
    spec = {"realServers": [{"address": str(RS)}]} | spec
    world = store(
        virtual_servers=[virtual_server(**spec)],
        groups=[director_group(**(group or {}))],
        nodes=[
            node("director-1", "198.18.0.11"),
            node("director-2", "198.18.0.12"),
            node("node-1", str(RS)) | {"metadata": {"name": "node-1"}},
        ],
        services=[service("web", 80)],
        slices=[endpoint_slice("web-1", "web", {**endpoint("10.244.31.11"), "nodeName": "node-1"})],
    ).world()
    own = {"director-1": "198.18.0.11", "director-2": "198.18.0.12", "node-1": str(RS)}[on]
    held = frozenset({LinkAddress("eth0", A(own), 24), LinkAddress("eth0", VIP, 32)})
    held |= {token(51)} if on == "director-1" else frozenset()
    (found,) = cases(Scene(world, judge(world), on, State(addresses=held)))
    return found


def reasons(of: Case, facts: Facts) -> list[Reason]:
    return [fault.reason for fault in faults(of, facts)]


def fine(of: Case, **changes: Any) -> Facts:
    """What is seen where nothing is wrong."""
    asked = questions([of], {"eth0": ETH0})
    routes = {one: Route("eth0", None, A("198.18.0.11"), 1500) for one in asked.routes}
    answers = dict.fromkeys(asked.trials, Answer.ANSWERED)
    made = Facts({"eth0": ETH0}, routes, {}, dict.fromkeys(asked.pings, "eth0"), answers)
    return replace(made, **changes)


def routed(of: Case, address: IPAddress, **changes: Any) -> Facts:
    facts = fine(of)
    return replace(facts, routes={**facts.routes, address: replace(facts.routes[address], **changes)})


TUNNEL: Json = {"forwarding": {"mode": "Tunnel"}}
DIRECT: Json = {"forwarding": {"mode": "DirectRouting"}}
FAR: Json = {"realServers": [{"address": "198.18.1.21"}]}
FAR_RS = A("198.18.1.21")


def test_nothing_is_wrong_where_everything_answers() -> None:
    for spec in (TUNNEL, DIRECT, FAR):
        assert reasons(case(**spec), fine(case(**spec))) == []
        assert reasons(case("director-2", **spec), fine(case("director-2", **spec))) == []
    for spec in (TUNNEL, DIRECT):
        assert reasons(case("node-1", **spec), fine(case("node-1", **spec))) == []


def test_a_look_that_saw_nothing_finds_nothing_wrong() -> None:
    for on in ("director-1", "director-2", "node-1"):
        assert reasons(case(on, **TUNNEL), Facts()) == []


def test_no_route_to_a_real_server_explains_its_silence() -> None:
    of = case(**TUNNEL)
    facts = routed(of, RS, refused="network is unreachable")
    (fault,) = faults(of, replace(facts, trials=dict.fromkeys(facts.trials, Answer.SILENCE)))
    assert (fault.reason, fault.real_server) == (Reason.NO_ROUTE_TO_REAL_SERVER, str(RS))
    assert "network is unreachable" in fault.message


def test_direct_routing_through_a_gateway_is_not_on_link_a_tunnel_may_be() -> None:
    gateway = A("198.18.0.1")
    assert reasons(case(**DIRECT), routed(case(**DIRECT), RS, gateway=gateway)) == [Reason.NOT_ON_LINK]
    assert reasons(case(**TUNNEL), routed(case(**TUNNEL), RS, gateway=gateway)) == []


def test_wrapped_packets_from_elsewhere_are_refused() -> None:
    of = case(**TUNNEL)
    assert reasons(of, routed(of, RS, source=A("192.0.2.9"))) == [Reason.TUNNEL_SOURCE_UNKNOWN]
    named = case(group={"tunnelSources": ["192.0.2.9"]}, **TUNNEL)
    assert reasons(named, routed(named, RS, source=A("192.0.2.9"))) == []
    assert reasons(case(**DIRECT), routed(case(**DIRECT), RS, source=A("192.0.2.9"))) == []


def test_a_small_mtu_is_told_with_its_arithmetic() -> None:
    of = case(forwarding={"mode": "Tunnel", "tunnel": {"type": "GUE"}})
    (fault,) = faults(of, routed(of, RS, mtu=1400))
    assert fault.reason is Reason.MTU_TOO_SMALL
    assert "1500 = 1468 of a client + 32 of the tunnel" in fault.message
    assert reasons(case(**DIRECT), routed(case(**DIRECT), RS, mtu=1400)) == [Reason.MTU_TOO_SMALL]
    assert reasons(case(**FAR), routed(case(**FAR), FAR_RS, mtu=1400)) == []  # there TCP finds its length by itself


def test_links_that_are_small_everywhere_are_no_fault_of_a_tunnel_for_what_is_wrapped_follows_them() -> None:
    of, small = case(**TUNNEL), {"eth0": LinkFact(1400)}
    answers = dict.fromkeys(questions([of], small).pings, "eth0")
    assert reasons(of, replace(routed(of, RS, mtu=1400), links=small, pings=answers)) == []
    (fault,) = faults(of, replace(routed(of, RS, mtu=1300), links=small, pings=answers))
    assert "takes 1300 bytes" in fault.message
    assert "1400 = 1380 of a client + 20 of the tunnel" in fault.message


def test_a_wider_link_must_carry_what_a_client_sends_and_what_the_tunnel_adds() -> None:
    of = case(**TUNNEL)
    of = replace(of, own=(*of.own, LinkAddress("eth1", A("198.18.1.11"), 24)))
    wide = {"eth0": LinkFact(1500), "eth1": LinkFact(9000)}
    facts = replace(routed(of, RS, link="eth1", mtu=9000), links=wide)
    answers = dict.fromkeys(questions([of], wide).pings, "eth1")
    assert reasons(of, replace(facts, pings=answers)) == []
    (fault,) = faults(of, replace(facts, pings={one: link for one, link in answers.items() if one.size <= 1500}))
    assert "1520 = 1500 of a client + 20 of the tunnel" in fault.message


def test_large_packets_that_get_lost_on_the_way_show_a_small_mtu() -> None:
    of = case(**TUNNEL)
    assert reasons(of, fine(of, pings={Ping(RS): "eth0"})) == [Reason.MTU_TOO_SMALL]
    assert reasons(of, fine(of, pings={})) == []  # it answers no ping at all


def test_a_tunnel_that_is_refused_or_ignored() -> None:
    of = case(**TUNNEL)
    trial = Trial(RS, VIP, A("198.18.0.11"), Tunnel())
    (refused,) = faults(of, fine(of, trials={trial: Answer.REFUSED}))
    (ignored,) = faults(of, fine(of, trials={trial: Answer.SILENCE}))
    assert refused.reason is ignored.reason is Reason.DECAPSULATION_MISSING
    assert "ICMP unreachable" in refused.message
    assert "rp_filter" in ignored.message
    assert reasons(of, fine(of, trials={trial: Answer.SILENCE}, pings={})) == []


def test_direct_routing_to_one_that_does_not_hold_the_address() -> None:
    of = case(**DIRECT)
    trial = Trial(RS, VIP, A("198.18.0.11"))
    assert reasons(of, fine(of, trials={trial: Answer.SILENCE})) == [Reason.ADDRESS_NOT_HELD]


def test_nat_to_a_neighbour_of_the_clients_is_bypassed_unless_the_source_is_translated() -> None:
    of = case()
    assert reasons(of, fine(of)) == [Reason.REPLIES_BYPASS_DIRECTOR]
    translated = case(forwarding={"mode": "NAT", "nat": {"sourceTranslation": True}})
    assert reasons(translated, fine(translated)) == []
    elsewhere = case(group={"clientNetworks": ["203.0.113.0/24"]})
    assert reasons(elsewhere, fine(elsewhere)) == []


def test_nat_sees_which_way_a_real_server_answers_those_beyond_its_network() -> None:
    of = case(group={"gateway": {"interface": "eth1", "addresses": ["198.18.1.1"]}}, **FAR)
    (fault,) = faults(of, fine(of, pings={Ping(FAR_RS): "eth1"}))
    assert fault.reason is Reason.NO_ROUTE_BACK
    assert "gateway must be 198.18.1.1" in fault.message
    around = {Ping(FAR_RS): "eth1", Ping(FAR_RS, source=VIP): "eth0"}
    assert reasons(of, fine(of, pings=around)) == [Reason.REPLIES_BYPASS_DIRECTOR]
    assert reasons(of, fine(of, pings={})) == []
    standby = case("director-2", **FAR)
    assert all(ping.source is None for ping in questions([standby], {}).pings)


def test_an_address_of_ours_that_another_answers_for() -> None:
    of = case(**FAR)
    (fault,) = faults(of, fine(of, twice={VIP: "02:00:00:00:00:99"}))
    assert fault.reason is Reason.ADDRESS_ANSWERED_TWICE
    assert "02:00:00:00:00:99 answers ARP for 198.18.0.100" in fault.message
    assert reasons(of, fine(of, twice={A("198.18.0.101"): "02:00:00:00:00:99"})) == []
    assert not questions([case("director-2", **FAR)], {}).held  # there it is the active director that answers


def test_a_node_without_a_route_to_clients() -> None:
    of = case("node-1", group={"clientNetworks": ["203.0.113.0/24"]}, **TUNNEL)
    (fault,) = faults(of, routed(of, A("203.0.113.1"), refused="network is unreachable"))
    assert (fault.reason, fault.real_server) == (Reason.NO_ROUTE_BACK, str(RS))


def test_a_strict_filter_counts_only_where_the_way_back_is_another() -> None:
    of = case("node-1", group={"clientNetworks": ["203.0.113.0/24"]}, **DIRECT)
    for strict in (LinkFact(1500, rp_filter=1), LinkFact(1500, rp_filter_all=1)):
        facts = routed(of, A("203.0.113.1"), link="eth9")
        assert reasons(of, replace(facts, links={"eth0": strict})) == [Reason.REVERSE_PATH_FILTER]
        assert reasons(of, fine(of, links={"eth0": strict})) == []
        assert reasons(of, facts) == []
    loose = LinkFact(1500, rp_filter=2, rp_filter_all=1)  # the kernel takes the larger one
    assert reasons(of, replace(routed(of, A("203.0.113.1"), link="eth9"), links={"eth0": loose})) == []


def test_a_director_whose_link_is_down() -> None:
    of = case(**TUNNEL)
    assert reasons(of, fine(of, links={"eth0": LinkFact(1500, carrier=False)})) == [Reason.LINK_DOWN]


def test_pods_are_reached_through_their_node_and_one_that_is_taken_out_is_left_alone() -> None:
    of = case(realServers=[{"service": {"name": "web"}}, {"address": "198.18.0.40", "adminState": "Offline"}], **TUNNEL)
    assert of.pairs == ((VIP, RS),)


def test_the_neighbour_that_stands_for_clients_is_no_address_of_this_node() -> None:
    of = case(addresses=["198.18.0.10"], **TUNNEL)
    assert of.clients == (A("198.18.0.8"),)  # .11 is the director's own, .10 xor 2 is the next


def test_a_fault_counts_when_it_was_seen_twice() -> None:
    one, other = Fault(Reason.LINK_DOWN, "", "a"), Fault(Reason.LINK_DOWN, "", "b")
    assert confirmed([one, other], [one]) == (one,)
    assert confirmed([one], []) == ()


def test_equal_facts_give_equal_words_in_equal_order() -> None:
    of = case(realServers=[{"address": f"198.18.0.{n}"} for n in (33, 31, 32)], **TUNNEL)
    facts = fine(of)
    bad = replace(facts, trials=dict.fromkeys(facts.trials, Answer.REFUSED))
    assert faults(of, bad) == faults(of, replace(bad, trials=dict(reversed(list(bad.trials.items())))))
    assert [fault.real_server for fault in faults(of, bad)] == ["198.18.0.31", "198.18.0.32", "198.18.0.33"]


def test_the_key_is_the_virtual_servers() -> None:
    assert case().key == WEB
