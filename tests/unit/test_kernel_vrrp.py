"""The directory that agent and supervisor share, from the agent's side."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from virtualserver.kernel.port import KernelError
from virtualserver.kernel.refusals import RefusedError
from virtualserver.kernel.rundir import RunDir, dump, load
from virtualserver.kernel.vrrp import Elections, Vrrp
from virtualserver.model.failover import Instance
from virtualserver.model.types import LinkAddress

VIP = LinkAddress("eth0", ip_address("198.18.0.100"), 32)
WEB = Instance("web.example", 51, "eth0", 100, 3, 250, links=("eth0", "eth1"), addresses=(VIP,))
OTHER = Instance("other", 52, "eth0", 1000, 5, 249)


class TestJson:
    def test_what_is_written_is_read(self) -> None:
        unicast = replace(OTHER, version=6, source=ip_address("fd00::1"), peers=(ip_address("fd00::2"),))
        instances = (WEB, replace(unicast, preempt_delay=1.5))
        assert load(dump(instances)) == instances

    @pytest.mark.parametrize("text", ["", "{}", '{"instances": [{}]}', '{"instances": 7}', "[]"])
    def test_what_is_no_such_text_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r".*"):
            load(text)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunDir]:
    """A directory whose keepalived seems to run: another process holds the lock."""
    found = RunDir(tmp_path)
    hold = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print(); input()"
    command = [sys.executable, "-c", hold, str(found.lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield found
        holder.kill()


class TestAdapter:
    def test_a_new_directory_has_nothing(self, tmp_path: Path) -> None:
        assert Vrrp(tmp_path / "none").read() == Elections()

    def test_new_groups_are_not_eligible_and_known_ones_stay_as_they_are(self, running: RunDir) -> None:
        vrrp = Vrrp(running.path)
        vrrp.configure([WEB])
        assert vrrp.read() == ({"web.example": WEB}, frozenset(), True)
        vrrp.allow("web.example")
        vrrp.configure([replace(WEB, addresses=()), OTHER])
        assert vrrp.read().eligible == {"web.example"}
        assert vrrp.read().instances["web.example"].addresses == ()
        vrrp.forbid("web.example")
        assert vrrp.read().eligible == frozenset()

    def test_a_group_that_came_again_has_to_be_allowed_again(self, running: RunDir) -> None:
        vrrp = Vrrp(running.path)
        vrrp.configure([WEB])
        vrrp.allow("web.example")
        vrrp.configure([])
        assert running.eligible("web.example").read_text() == "1\n"
        vrrp.configure([WEB])
        assert vrrp.read().eligible == frozenset()

    def test_another_agent_reads_the_same(self, running: RunDir) -> None:
        first = Vrrp(running.path)
        first.configure([WEB, OTHER])
        first.allow("other")
        assert Vrrp(running.path).read() == first.read()
        assert first.read() == ({"web.example": WEB, "other": OTHER}, frozenset({"other"}), True)

    def test_nothing_is_eligible_while_keepalived_does_not_run(self, tmp_path: Path) -> None:
        vrrp, files = Vrrp(tmp_path), RunDir(tmp_path)
        vrrp.configure([WEB])
        with pytest.raises(RefusedError) as refused:
            vrrp.allow("web.example")
        assert refused.value.errno == errno.ESRCH
        files.lock.touch()
        files.write_eligible("web.example", b"0\n")
        assert vrrp.read().eligible == frozenset()

    def test_a_configuration_that_another_hand_changed_is_to_be_written_again_and_moves_nothing(
        self, running: RunDir
    ) -> None:
        vrrp = Vrrp(running.path)
        vrrp.configure([WEB])
        vrrp.allow("web.example")
        running.configuration.write_text(running.configuration.read_text().replace("priority 250", "priority 1"))
        assert vrrp.read() == ({}, frozenset(), True)
        vrrp.configure([WEB])
        assert vrrp.read() == ({"web.example": WEB}, frozenset({"web.example"}), True)

    @pytest.mark.parametrize("spoilt", ["", "{", '{"instances": [{"group": 1}]}'])
    def test_spoilt_files_are_written_again(self, running: RunDir, spoilt: str) -> None:
        vrrp = Vrrp(running.path)
        vrrp.configure([WEB])
        running.instances.write_text(spoilt)
        assert vrrp.read() == ({}, frozenset(), True)
        vrrp.configure([WEB])
        assert vrrp.read().instances == {"web.example": WEB}

    @pytest.mark.parametrize(
        "changes",
        [
            {"group": "../web"},
            {"group": "x" * 254},
            {"router_id": 0},
            {"router_id": 256},
            {"priority": 255},
            {"interval": 41000},
            {"missed": 0},
            {"link": 'eth0" }'},
            {"links": ("a/b",)},
            {"version": 6, "source": ip_address("198.18.0.1")},
        ],
    )
    def test_values_that_keepalived_would_take_otherwise_are_refused(
        self, tmp_path: Path, changes: dict[str, object]
    ) -> None:
        with pytest.raises(RefusedError, match=re.escape(str(changes.get("group", "web.example")))):
            Vrrp(tmp_path).configure([replace(WEB, **changes)])  # type: ignore[arg-type]  # keywords of several types
        assert not list(tmp_path.iterdir())

    def test_two_instances_cannot_share_a_router_id(self, tmp_path: Path) -> None:
        with pytest.raises(RefusedError, match="51"):
            Vrrp(tmp_path).configure([WEB, replace(OTHER, router_id=51)])

    def test_an_unknown_group_cannot_be_allowed_but_forbidden(self, running: RunDir) -> None:
        vrrp = Vrrp(running.path)
        with pytest.raises(RefusedError) as refused:
            vrrp.allow("nobody")
        assert refused.value.errno == errno.ENOENT
        vrrp.forbid("nobody")

    def test_a_directory_that_cannot_be_used_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        vrrp = Vrrp(tmp_path / "file" / "run")
        with pytest.raises(KernelError, match="Not a directory"):
            vrrp.read()
        with pytest.raises(RefusedError, match="Not a directory"):
            vrrp.configure([WEB])
