"""Which links have settings of ours: those on which others ask for addresses, those that take router advertisements."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from virtualserver.model.operations import WriteSysctl
from virtualserver.model.types import CATCH_ALL, LinkAddress, LinkKind, Owned, OwnLink, Protocol, ServiceKey, State
from virtualserver.plan.diff import diff
from virtualserver.plan.settings import FORWARD_IPV6, UDP_IDLE, advertisements, director, names, uplinks

ON, OFF = {FORWARD_IPV6: "1"}, {FORWARD_IPV6: "0"}
ETH0, VLAN = "net.ipv6.conf.eth0.accept_ra", "net.ipv6.conf.eth0/100.accept_ra"


def links(**values: str) -> dict[str, str]:
    return {f"net.ipv6.conf.{link}.accept_ra": value for link, value in values.items()}


def test_every_link_that_takes_advertisements_goes_on_taking_them() -> None:
    found = OFF | links(all="1", default="1", lo="1", eth0="1", eth1="0", eth2="2") | {VLAN: "1"}
    assert advertisements(ON, found, {}) == {ETH0: "2", VLAN: "2"}


def test_what_was_set_is_wanted_on_and_a_link_that_comes_later_too() -> None:
    found = ON | links(eth0="2", eth1="1", eth2="2")
    assert advertisements(ON, found, OFF | {ETH0: "1"}) == {ETH0: "2", "net.ipv6.conf.eth1.accept_ra": "2"}


@pytest.mark.parametrize(
    ("desired", "found", "before"),
    [
        ({}, OFF, {}),
        (ON, ON, {}),
        (ON, ON, {FORWARD_IPV6: "1"}),
        (ON, {}, {}),
    ],
    ids=["no IPv6 wanted", "it forwarded before us", "recorded so", "a node without IPv6"],
)
def test_without_a_switch_of_forwarding_nothing_is_changed(
    desired: dict[str, str], found: dict[str, str], before: dict[str, str]
) -> None:
    assert advertisements(desired, found | links(eth0="1"), before) == {}


def operations(desired: dict[str, str], found: dict[str, str], before: dict[str, str]) -> list[tuple[str, str]]:
    done = diff(State(sysctls=desired), State(sysctls=found), Owned(sysctls=before), complete=True)
    return [(one.name, one.value) for one in done if isinstance(one, WriteSysctl)]


def test_forwarding_waits_until_all_links_read_back_as_they_must_be() -> None:
    assert operations(ON, OFF | links(eth0="1", eth1="1"), {ETH0: "1"}) == [
        (ETH0, "2"),
        ("net.ipv6.conf.eth1.accept_ra", "2"),
    ]
    assert operations(ON, OFF | links(eth0="2", eth1="1"), {ETH0: "1"}) == [("net.ipv6.conf.eth1.accept_ra", "2")]
    assert operations(ON, OFF | links(eth0="2"), {ETH0: "1"}) == [(FORWARD_IPV6, "1")]


def test_links_are_put_back_with_forwarding_but_not_over_what_another_hand_set_since() -> None:
    before = OFF | {ETH0: "1"}
    assert operations({}, ON | links(eth0="2"), before) == [(FORWARD_IPV6, "0"), (ETH0, "1")]
    assert operations({}, ON | links(eth0="0"), before) == [(FORWARD_IPV6, "0")]
    assert operations(ON, ON | links(eth0="0"), before) == []


@pytest.mark.parametrize(
    ("protocol", "translate", "seconds"),
    [(Protocol.UDP, True, "300"), (Protocol.UDP, False, None), (Protocol.TCP, True, None)],
)
def test_an_idle_udp_flow_that_is_translated_is_forgotten_by_nobody_before_ipvs(
    protocol: Protocol, translate: bool, seconds: str | None
) -> None:
    service = ServiceKey(protocol, ip_address("198.18.0.100"), 53)
    assert director(["eth0"], [service], nat=True, translate=translate, expire=False).get(UDP_IDLE) == seconds
    assert UDP_IDLE in names(["eth0"]), "it is read, and so put back"


def test_every_link_on_which_others_may_ask_is_an_uplink_whether_it_has_an_address_or_not() -> None:
    node = State(
        addresses=frozenset({LinkAddress("eth0", ip_address("198.18.0.31"), 24)}),
        own_links={"vs-addresses": OwnLink(LinkKind.DUMMY)},
        asked=frozenset({"eth0", "spare0", "vs-addresses", *CATCH_ALL}),
    )
    assert uplinks(node) == {"eth0", "spare0"}


@pytest.mark.parametrize(
    ("address", "prefix", "asked"),
    [
        (None, 0, False),
        ("fe80::ecee:eeff:feee:eeee", 64, False),
        ("10.244.31.1", 32, False),
        ("172.18.0.3", 16, True),
    ],
    ids=["Calico", "with IPv6", "the ptp plugin's gateway", "the uplink of a node in a container"],
)
def test_a_link_into_a_container_is_one_only_with_a_network_on_it(
    address: str | None, prefix: int, asked: bool
) -> None:
    link = frozenset({"veth1"})
    held = frozenset({LinkAddress("veth1", ip_address(address), prefix)} if address else ())
    assert uplinks(State(addresses=held, asked=link, inward=link)) == (link if asked else set())
