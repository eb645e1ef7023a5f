"""What a machine outside the cluster needs: wanted, read back in words, and step by step."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from virtualserver.api.virtualserver import Forwarding
from virtualserver.kernel.fake import FakeKernel
from virtualserver.model.operations import AddAddress, RaiseLink
from virtualserver.model.types import LinkKind, Owned, OwnLink, Rules, State
from virtualserver.plan import machine, steps
from virtualserver.plan.desired import Circumstances
from virtualserver.plan.diff import diff
from virtualserver.plan.machine import Entries, Entry, clash
from virtualserver.plan.readback import missing, modules
from virtualserver.plan.tunnels import HOLDER

VIP, VIP6, OTHER = (ip_address(text) for text in ("198.18.0.100", "fd00:18::100", "198.18.0.101"))
ENDS = frozenset({ip_address("198.18.0.11")}), frozenset({ip_address("198.18.0.21")})
Json = dict[str, object]
FORWARDING: list[Json] = [
    {"mode": "DirectRouting"},
    {"mode": "Tunnel", "tunnel": {"type": "IPIP"}},
    {"mode": "Tunnel", "tunnel": {"type": "GUE", "port": 6081}},
    {"mode": "Tunnel", "tunnel": {"type": "GRE", "checksum": True}},
]


def entry(forwarding: Json) -> Entry:
    return Entry(Forwarding.model_validate(forwarding), *ENDS)


def wanted(entries: Entries) -> State:
    return machine.plan(entries, Circumstances(uplinks=frozenset({"eth0"}))).state


def set_up(forwarding: Json) -> tuple[State, State]:
    """Return what is wanted, and a machine that holds just that and nothing else."""
    state = wanted(dict.fromkeys((VIP, VIP6), entry(forwarding)))
    return state, replace(state, links=frozenset(state.own_links) | {"lo", "eth0"})


@pytest.mark.parametrize("forwarding", FORWARDING)
def test_nothing_is_missing_exactly_when_nothing_is_to_be_done(forwarding: Json) -> None:
    state, found = set_up(forwarding)
    owned = Owned(own_links=frozenset(state.own_links))
    assert missing(state, found) == []
    assert diff(state, found, owned, complete=False) == ()
    for broken in (
        *(replace(found, addresses=found.addresses - {one}) for one in found.addresses),
        *(replace(found, sysctls={**found.sysctls, name: "0"}) for name in found.sysctls),
        *(replace(found, own_links={**found.own_links, n: replace(o, up=False)}) for n, o in found.own_links.items()),
        *([replace(found, rules=Rules())] if found.rules != Rules() else []),
        *([replace(found, decapsulations=frozenset())] if found.decapsulations else []),
    ):
        assert missing(state, broken)
        assert diff(state, broken, owned, complete=False)


def test_a_look_says_why() -> None:
    state, found = set_up(FORWARDING[1])
    tunnel = next(name for name, link in state.own_links.items() if link.kind is LinkKind.IPIP)
    others = {name: link for name, link in found.own_links.items() if name != tunnel}
    foreign = replace(found, own_links=others)
    gone = replace(foreign, links=found.links - {tunnel})
    turned = replace(found, own_links={**others, tunnel: OwnLink(LinkKind.UNKNOWN)})
    moved = {replace(one, link="lo") if one.address == VIP else one for one in found.addresses}
    said = {
        "another program has a link of this name": missing(state, foreign),
        "this kernel does not have the module ipip": missing(state, gone, {"ipip"}),
        "another hand has changed it": missing(state, turned),
        "it is on lo, and not ours": missing(state, replace(found, addresses=frozenset(moved))),
    }
    for words, looks in said.items():
        assert [one for one in looks if words in one.problem], words


@pytest.mark.parametrize(
    ("own", "everywhere", "said"),
    [
        ("0", "1", "it is 0, which makes 1 (strict) on vs-addresses, because net.ipv4.conf.all.rp_filter is 1"),
        ("1", "0", "it is 1, which makes 1 (strict) on vs-addresses"),
        ("0", "2", "it is 0, which makes 2 (loose) on vs-addresses, because net.ipv4.conf.all.rp_filter is 2"),
    ],
)
def test_of_a_reverse_path_filter_the_effect_is_said(own: str, everywhere: str, said: str) -> None:
    state, found = set_up(FORWARDING[0])
    changed = {f"net.ipv4.conf.{HOLDER}.rp_filter": own, "net.ipv4.conf.all.rp_filter": everywhere}
    (look,) = missing(state, replace(found, sysctls={**found.sysctls, **changed}))
    assert look.problem == said


@pytest.mark.parametrize("forwarding", FORWARDING)
def test_the_steps_bring_an_empty_machine_there_and_back(forwarding: Json) -> None:
    kernel = FakeKernel()
    kernel.sysctls |= {"net.ipv4.conf.eth0.arp_ignore": "0", "net.ipv4.conf.eth0.arp_announce": "0"}
    state = wanted(dict.fromkeys((VIP, VIP6), entry(forwarding)))
    taken = steps.there(state)
    assert all(outcome.ok for outcome in kernel.apply(taken))
    assert missing(state, kernel.read(tuple(state.sysctls), rules=True)) == []
    assert max(taken.index(one) for one in taken if isinstance(one, RaiseLink)) < min(
        taken.index(one) for one in taken if isinstance(one, AddAddress) and one.address.link == HOLDER
    )
    back = [one for one in steps.back(state) if getattr(one, "value", "") != steps.UNKNOWN]
    assert all(outcome.ok for outcome in kernel.apply(back))
    left = kernel.read(rules=True)
    assert (left.addresses, left.own_links, left.decapsulations, left.rules) == (frozenset(), {}, frozenset(), Rules())


def test_gre_with_a_checksum_and_without_between_the_same_ends_is_no_machine() -> None:
    plain, summed = entry({"mode": "Tunnel", "tunnel": {"type": "GRE"}}), entry(FORWARDING[3])
    assert clash({VIP: summed, OTHER: summed, VIP6: entry(FORWARDING[1])}) == ""
    problem = clash({VIP: summed, OTHER: plain})
    assert "198.18.0.100 and 198.18.0.101 take GRE from 198.18.0.11" in problem


def test_packets_are_taken_as_before_too_until_it_is_asked_for_without() -> None:
    direct, gue = entry(FORWARDING[0]), entry(FORWARDING[2])
    both = direct.keeping(gue)
    assert wanted({VIP: both}).decapsulations == wanted({VIP: gue}).decapsulations
    assert wanted({VIP: both}).own_links == wanted({VIP: gue}).own_links
    assert direct.keeping(both) == both, "asked for again, it still keeps what it kept"
    assert gue.keeping(both) == replace(gue, before=direct), "back again"
    assert direct.keeping(direct) == direct, "nothing has changed"
    assert direct.keeping(None) == direct, "there was nothing before"
    assert str(both) == "DirectRouting, and still Tunnel GUE at UDP port 6081 from 198.18.0.11"


def test_gre_cannot_be_taken_with_a_checksum_and_as_before_without() -> None:
    plain, summed = entry({"mode": "Tunnel", "tunnel": {"type": "GRE"}}), entry(FORWARDING[3])
    assert "198.18.0.100 would take GRE from 198.18.0.11 with a checksum and" in clash({VIP: summed.keeping(plain)})


def test_addresses_share_what_they_both_need() -> None:
    both = wanted({VIP: entry(FORWARDING[1]), OTHER: entry(FORWARDING[2])})
    assert both.own_links == wanted({VIP: entry(FORWARDING[1])}).own_links
    assert modules(both) == {"dummy", "ipip", "fou"}


def test_an_address_that_the_kernel_refuses_leaves_the_others() -> None:
    entries = dict.fromkeys((VIP, OTHER), entry(FORWARDING[0]))
    first = machine.plan(entries, Circumstances())
    refused = next(iter(first.needed[next(one for one in first.state.addresses if one.address == VIP)]))
    second = machine.plan(entries, Circumstances(suspended=frozenset({refused})))
    assert {one.address for one in second.state.addresses} == {OTHER}
