"""Rules that let VRRP and mirrored connections in from fellow directors only, as text and back."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from virtualserver.kernel.rules import CHAINS, Installed, parse_dump, read_rules, render
from virtualserver.model.failover import Member
from virtualserver.model.types import Admission, Rules

NOTHING = {chain: Installed() for chain in CHAINS}
SYNC = 8848


def member(source: str, port: int = 0, link: str = "eth0") -> Member:
    return Member(link, ip_address(source), port)


MEMBERS = frozenset(
    {
        member("198.18.0.11"),
        member("198.18.0.9"),
        member("fd00:18::11"),
        member("198.18.1.11", SYNC, "eth1"),
    }
)
RULES = Rules(members=MEMBERS)


def lines(rules: Rules, version: int) -> list[str]:
    text = render(rules, version, NOTHING)
    return [line.removeprefix("-A VIRTUALSERVER-MEMBERS ") for line in text.splitlines() if line.startswith("-A")]


def saved(version: int, *changes: tuple[str, str]) -> str:
    """Return what iptables-save prints after our rules were restored, and somebody made ``changes``."""
    text = render(RULES, version, NOTHING).replace("-I INPUT 1", "-A INPUT").replace("-p 112", "-p vrrp")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def read(*changes: tuple[str, str], six: tuple[tuple[str, str], ...] = ()) -> frozenset[Member]:
    return read_rules({4: parse_dump(saved(4, *changes)), 6: parse_dump(saved(6, *six))}).members


def test_members_come_before_the_end_of_all_others() -> None:
    assert lines(RULES, 4) == [
        "-s 198.18.0.9/32 -i eth0 -p 112 -j RETURN",
        "-s 198.18.0.11/32 -i eth0 -p 112 -j RETURN",
        "-i eth0 -p 112 -j DROP",
        "-s 198.18.1.11/32 -i eth1 -p udp -m udp --dport 8848 -j RETURN",
        "-i eth1 -p udp -m udp --dport 8848 -j DROP",
    ]


def test_a_family_without_members_is_shut_where_the_other_has_some() -> None:
    assert lines(RULES, 6) == [
        "-s fd00:18::11/128 -i eth0 -p 112 -j RETURN",
        "-i eth0 -p 112 -j DROP",
        "-i eth1 -p udp -m udp --dport 8848 -j DROP",
    ]


def test_without_members_nothing_is_dropped() -> None:
    assert lines(Rules(), 4) == lines(Rules(), 6) == []


def test_they_are_read_back_whatever_the_node_calls_the_protocol() -> None:
    assert read() == MEMBERS
    assert read(("-p vrrp", "-p 112")) == MEMBERS


@pytest.mark.parametrize("name", ["vrrp", "10.0.0.1", "eth0.100"])
def test_links_may_have_names_that_mean_something_else(name: str) -> None:
    rules = Rules(members=frozenset({member("198.18.0.11", link=name)}))
    tables = {
        version: parse_dump(render(rules, version, NOTHING).replace("-I INPUT 1", "-A INPUT")) for version in (4, 6)
    }
    assert read_rules(tables) == rules


@pytest.mark.parametrize(
    "change",
    [
        ("-A INPUT -j VIRTUALSERVER-MEMBERS\n", ""),
        ("-A VIRTUALSERVER-MEMBERS -i eth0 -p vrrp -j DROP\n", ""),
        ("-i eth0 -p vrrp -j DROP", "-i eth0 -p vrrp -j ACCEPT"),
        ("-s 198.18.0.9/32", "-s 198.18.0.0/24"),
        ("-s 198.18.0.9/32 -i eth0", "-s 198.18.0.9/32"),
        ("-i eth1 -p udp", "-i eth0 -p udp"),
        ("--dport 8848 -j DROP", "--dport 8849 -j DROP"),
        ("-A VIRTUALSERVER-MEMBERS -s 198.18.0.9/32", "-A VIRTUALSERVER-MEMBERS -j RETURN\n-A VIRTUALSERVER-MEMBERS"),
    ],
)
def test_rules_that_let_others_in_read_as_none(change: tuple[str, str]) -> None:
    assert read(change) == frozenset()


@pytest.mark.parametrize(
    "change",
    [
        ("-A INPUT -j VIRTUALSERVER-MEMBERS\n", ""),
        ("-A VIRTUALSERVER-MEMBERS -i eth1 -p udp -m udp --dport 8848 -j DROP\n", ""),
        ("-s fd00:18::11/128", "-s fd00:18::/64"),
    ],
)
def test_a_family_that_is_open_is_seen_also_where_it_has_no_member(change: tuple[str, str]) -> None:
    """Else it would stay open: its members, none, are what was wanted."""
    assert read(six=(change,)) != MEMBERS


def test_what_is_wrong_in_one_family_of_other_rules_leaves_the_other_one_alone() -> None:
    four, six = (Admission(6080, ip_address(source)) for source in ("198.18.0.11", "fd00:18::11"))
    rules = Rules(tunnelled=frozenset({four, six}))
    tables = {version: render(rules, version, NOTHING).replace("-I INPUT 1", "-A INPUT") for version in (4, 6)}
    tables[6] = tables[6].replace("DROP", "ACCEPT")
    assert read_rules({version: parse_dump(text) for version, text in tables.items()}).tunnelled == {four}
