"""Which links are made to go on taking router advertisements, and which are left alone."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from virtualserver.model.operations import WriteSysctl
from virtualserver.model.types import Owned, Protocol, ServiceKey, State
from virtualserver.plan.diff import diff
from virtualserver.plan.settings import FORWARD_IPV6, UDP_IDLE, advertisements, director, names

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
    assert director(["eth0"], [service], translate=translate, expire=False).get(UDP_IDLE) == seconds
    assert UDP_IDLE in names(["eth0"]), "it is read, and so put back"
