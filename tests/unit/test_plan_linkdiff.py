"""Which operations on links of our own follow, and in which order with settings and addresses."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from virtualserver.kernel.fake import FakeKernel
from virtualserver.model.operations import (
    AddAddress,
    AddDecapsulation,
    AddLink,
    Operation,
    RaiseLink,
    RemoveAddress,
    RemoveDecapsulation,
    RemoveLink,
    ReplaceRules,
    WriteSysctl,
)
from virtualserver.model.types import (
    Admission,
    Clamp,
    Decapsulation,
    LinkAddress,
    LinkKind,
    Owned,
    OwnLink,
    Protocol,
    Rules,
    ServiceKey,
    State,
)
from virtualserver.plan.diff import conflicts, diff

VIP = LinkAddress("vs-vips", ip_address("198.18.0.100"), 32)
DUMMY = OwnLink(LinkKind.DUMMY)
TUNNEL = OwnLink(LinkKind.IPIP, ip_address("198.18.1.21"), ip_address("198.18.1.11"))
FILTER = "net.ipv4.conf.vs-t.rp_filter"
IGNORE = "net.ipv4.conf.eth0/100.arp_ignore"
KEY = ServiceKey(Protocol.TCP, VIP.address, 80)
LINKS = {"vs-vips": DUMMY, "vs-t": TUNNEL}
WANTED = State({}, frozenset({VIP}), {FILTER: "2", IGNORE: "1"}, own_links=LINKS)
EMPTY = State(sysctls={IGNORE: "0"}, links=frozenset({"eth0.100"}))
HELD = State(
    {}, frozenset({VIP}), {FILTER: "2", IGNORE: "1"}, links=frozenset({"eth0.100", "vs-vips", "vs-t"}), own_links=LINKS
)
OURS = Owned(addresses=frozenset({VIP}), own_links=frozenset(LINKS))


def down(*names: str) -> dict[str, OwnLink]:
    return {name: replace(link, up=name not in names) for name, link in LINKS.items()}


def test_nothing_is_done_where_everything_is_as_wanted() -> None:
    assert diff(WANTED, HELD, OURS, complete=True) == ()


def test_links_come_first_then_their_settings_then_they_are_raised_and_hold_addresses() -> None:
    assert diff(WANTED, EMPTY, Owned(), complete=True) == (
        AddLink("vs-t", TUNNEL),
        AddLink("vs-vips", DUMMY),
        WriteSysctl(IGNORE, "1"),
    )
    made = replace(HELD, addresses=frozenset(), sysctls={FILTER: "0", IGNORE: "1"}, own_links=down("vs-t", "vs-vips"))
    assert diff(WANTED, made, OURS, complete=True) == (WriteSysctl(FILTER, "2"), RaiseLink("vs-vips"))
    written = replace(HELD, addresses=frozenset(), own_links=down("vs-t"))
    assert diff(WANTED, written, OURS, complete=True) == (RaiseLink("vs-t"), AddAddress(VIP))


def test_no_address_stands_on_our_link_while_another_link_would_tell_of_it() -> None:
    talking = replace(HELD, addresses=frozenset(), sysctls={FILTER: "2", IGNORE: "0"})
    assert diff(WANTED, talking, OURS, complete=True) == (WriteSysctl(IGNORE, "1"),)


def test_what_is_no_longer_wanted_goes_address_first() -> None:
    gone = diff(State(), HELD, OURS, complete=True)
    assert gone == (RemoveAddress(VIP), RemoveLink("vs-t"), RemoveLink("vs-vips"))
    assert diff(State(), HELD, OURS, complete=False) == ()


def test_every_change_by_hand_is_undone() -> None:
    lowered = replace(HELD, own_links=down("vs-t"))
    assert diff(WANTED, lowered, OURS, complete=True) == (RaiseLink("vs-t"),)
    moved = replace(HELD, own_links={**LINKS, "vs-t": replace(TUNNEL, local=ip_address("198.18.1.99"))})
    assert diff(WANTED, moved, OURS, complete=True) == (RemoveLink("vs-t"), AddLink("vs-t", TUNNEL))
    strange = replace(HELD, own_links={**LINKS, "vs-t": OwnLink(LinkKind.UNKNOWN)})
    assert diff(WANTED, strange, OURS, complete=False) == (RemoveLink("vs-t"), AddLink("vs-t", TUNNEL))


def test_a_link_that_is_not_recorded_or_not_marked_as_ours_is_a_conflict_and_stays() -> None:
    unmarked = replace(HELD, addresses=frozenset(), own_links={"vs-t": TUNNEL})
    unrecorded = Owned(own_links=frozenset({"vs-t"}))
    other = replace(HELD, addresses=frozenset(), own_links={**LINKS, "vs-vips": replace(TUNNEL, up=False)})
    for actual, owned in ((unmarked, OURS), (other, unrecorded)):
        assert conflicts(WANTED, actual, owned).own_links == {"vs-vips"}
        assert diff(WANTED, actual, owned, complete=True) == ()
    assert diff(State(), other, Owned(), complete=True) == ()


def test_an_address_on_a_link_that_is_yet_to_be_made_is_no_conflict() -> None:
    assert not conflicts(WANTED, EMPTY, Owned()).links


def test_a_kernel_comes_to_rest_in_few_passes() -> None:
    kernel = FakeKernel(links=("eth0.100",), sysctls={IGNORE: "0"})
    passes: list[tuple[Operation, ...]] = []
    while operations := diff(WANTED, kernel.read((FILTER, IGNORE)), OURS, complete=True):
        passes.append(operations)
        assert all(outcome.ok for outcome in kernel.apply(operations))
    assert len(passes) == 3
    assert kernel.read().own_links == LINKS


GUE = Decapsulation(6080, 4)


def test_a_gue_port_is_opened_after_the_rules_that_guard_it_and_closed_before_they_go() -> None:
    wanted = State(rules=Rules(frozenset({KEY})), decapsulations=frozenset({GUE}))
    opening = diff(wanted, State(), Owned(), complete=True)
    assert opening == (ReplaceRules(wanted.rules), AddDecapsulation(GUE))
    ours = Owned(rules=True, decapsulations=frozenset({GUE}))
    assert diff(State(), wanted, ours, complete=True) == (RemoveDecapsulation(GUE), ReplaceRules(Rules()))
    assert diff(State(), wanted, ours, complete=False) == ()


def test_from_partial_knowledge_rules_are_only_added() -> None:
    one, two = (Admission(6080, ip_address(f"198.18.1.{n}")) for n in (11, 12))
    wide, narrow, other = Clamp(VIP.address, 1440), Clamp(VIP.address, 1400), Clamp(ip_address("198.18.0.101"), 1400)
    held = State(rules=Rules(tunnelled=frozenset({one}), clamped=frozenset({wide, other})))
    wanted = State(rules=Rules(tunnelled=frozenset({two}), clamped=frozenset({narrow})))
    (operation,) = diff(wanted, held, Owned(rules=True), complete=False)
    both = Rules(tunnelled=frozenset({one, two}), clamped=frozenset({narrow, other}))
    assert operation == ReplaceRules(both)
    assert diff(wanted, State(rules=both), Owned(rules=True), complete=False) == ()
    assert diff(wanted, State(rules=both), Owned(rules=True), complete=True) == (ReplaceRules(wanted.rules),)


def test_a_gue_port_of_others_is_a_conflict_and_stays_open() -> None:
    there = State(decapsulations=frozenset({GUE}))
    assert conflicts(there, there, Owned()).decapsulations == {GUE}
    assert diff(State(), there, Owned(), complete=True) == ()
