"""What a node remembers of its own work."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from virtualserver.agent.record import Record, RecordError
from virtualserver.model.operations import AddAddress, AddDecapsulation, AddLink, AddService, ReplaceRules, WriteSysctl
from virtualserver.model.types import (
    Decapsulation,
    LinkAddress,
    LinkKind,
    Owned,
    OwnLink,
    Protocol,
    Rules,
    ServiceContent,
    ServiceKey,
    State,
)

VIP = ip_address("fd00:18::100")
KEY = ServiceKey(Protocol.TCP, VIP, 80)
MADE = (
    AddService(KEY, ServiceContent("rr")),
    AddAddress(LinkAddress("eth0.100", VIP, 128)),
    WriteSysctl("net.ipv4.ip_forward", "1"),
    ReplaceRules(Rules(frozenset({KEY}))),
    AddLink("vs-addresses", OwnLink(LinkKind.DUMMY)),
    AddDecapsulation(Decapsulation(6080, 4)),
)


def test_what_was_claimed_is_known_to_the_next_agent_with_the_values_found(tmp_path: Path) -> None:
    first = Record(tmp_path / "record.json")
    first.claim(MADE, State(sysctls={"net.ipv4.ip_forward": "0"}))
    first.claim(MADE, State(sysctls={"net.ipv4.ip_forward": "1"}))
    again = Record(tmp_path / "record.json")
    assert again.owned == first.owned
    assert again.owned.sysctls == {"net.ipv4.ip_forward": "0"}
    assert again.owned.own_links == {"vs-addresses"}
    assert again.owned.decapsulations == {Decapsulation(6080, 4)}


def test_a_record_of_the_first_version_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(
        '{"version":1,"services":["TCP fd00:18::100 80"],"addresses":["eth0 fd00:18::100 128"],'
        '"sysctls":{"net.ipv4.ip_forward":"0"},"rules":true}'
    )
    assert Record(path).owned == Owned(
        frozenset({KEY}), frozenset({LinkAddress("eth0", VIP, 128)}), {"net.ipv4.ip_forward": "0"}, True
    )


def test_settings_of_a_link_of_ours_are_not_kept_because_they_go_with_it(tmp_path: Path) -> None:
    record = Record(tmp_path / "record.json")
    record.claim([AddLink("vs-a", OwnLink(LinkKind.DUMMY))], State())
    names = ("net.ipv4.conf.vs-a.rp_filter", "net.ipv4.conf.eth0.rp_filter")
    record.claim([WriteSysctl(name, "2") for name in names], State(sysctls=dict.fromkeys(names, "0")))
    assert record.owned.sysctls == {"net.ipv4.conf.eth0.rp_filter": "0"}


def test_a_link_is_forgotten_when_it_is_neither_wanted_nor_there(tmp_path: Path) -> None:
    link = OwnLink(LinkKind.DUMMY)
    record = Record(tmp_path / "record.json")
    record.claim([AddLink("vs-a", link), AddLink("vs-b", link), AddLink("vs-c", link)], State())
    record.settle(State(own_links={"vs-a": link}), State(own_links={"vs-b": link}))
    assert Record(tmp_path / "record.json").owned.own_links == {"vs-a", "vs-b"}


def test_a_port_is_forgotten_when_it_is_neither_wanted_nor_there(tmp_path: Path) -> None:
    one, two, three = (Decapsulation(port, 4) for port in (1, 2, 3))
    record = Record(tmp_path / "record.json")
    record.claim([AddDecapsulation(one), AddDecapsulation(two), AddDecapsulation(three)], State())
    record.settle(State(decapsulations=frozenset({one})), State(decapsulations=frozenset({two})))
    assert Record(tmp_path / "record.json").owned.decapsulations == {one, two}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"services": ["TCP x 80"], "addresses": [], "sysctls": {}, "rules": true}', "7"]
)
def test_a_record_that_cannot_be_read_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=r"cannot read .*record\.json"):
        Record(path)


def test_a_record_that_cannot_be_written_forbids_the_operations(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    record = Record(tmp_path / "other" / "record.json")
    (tmp_path / "other").write_text("a file where a folder is needed")
    with pytest.raises(RecordError, match="cannot write"):
        record.claim(MADE, State(sysctls={"net.ipv4.ip_forward": "0"}))
    assert not record.owned.services
