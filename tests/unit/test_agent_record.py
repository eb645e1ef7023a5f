"""What a node remembers of its own work."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from virtualserver.agent.record import Record, RecordError
from virtualserver.model.operations import AddAddress, AddService, ReplaceRules, WriteSysctl
from virtualserver.model.types import LinkAddress, Protocol, Rules, ServiceContent, ServiceKey

VIP = ip_address("fd00:18::100")
KEY = ServiceKey(Protocol.TCP, VIP, 80)
MADE = (
    AddService(KEY, ServiceContent("rr")),
    AddAddress(LinkAddress("eth0.100", VIP, 128)),
    WriteSysctl("net.ipv4.ip_forward", "1"),
    ReplaceRules(Rules(frozenset({KEY}))),
)


def test_what_was_claimed_is_known_to_the_next_agent_with_the_values_found(tmp_path: Path) -> None:
    first = Record(tmp_path / "record.json")
    first.claim(MADE, {"net.ipv4.ip_forward": "0"})
    first.claim(MADE, {"net.ipv4.ip_forward": "1"})
    again = Record(tmp_path / "record.json")
    assert again.owned == first.owned
    assert again.owned.sysctls == {"net.ipv4.ip_forward": "0"}


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
        record.claim(MADE, {"net.ipv4.ip_forward": "0"})
    assert not record.owned.services
