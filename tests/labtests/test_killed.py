"""A lab that was killed: it says so, it refuses to be built on, and `down` removes every trace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lab import exclusive, processes
from lab.console import wait_until
from labtests.drive import OwnLab
from labtests.machine import child_named, is_alive


def test_an_up_killed_half_way(own: OwnLab) -> None:
    with own.start("up") as command:
        command.said("API server: ")
        os.kill(command.process.pid, signal.SIGKILL)
        command.finish()
    status = own.run("status")
    assert status.code == 1
    assert status.out.startswith("down, but there are left-overs: process ")
    assert status.out.endswith(f"; {own.remedy}\n")
    again = own.run("up")
    assert again.code == 1
    assert f"the lab in {own.folder} is only half there" in again.complaint
    assert again.complaint.endswith(own.remedy)
    with own.start("down") as command:
        command.listens()
        command.signal_group(signal.SIGINT)
        assert command.finish().code in (130, 0)  # 0 when it was quicker
    assert own.run("down").code == 0  # finishes what the interrupted one has left
    assert own.remains() == []


def test_a_helper_program_that_outlives_a_killed_up_goes_too(own: OwnLab) -> None:
    """Else it would write its files again after their folder is gone."""
    found: list[int] = []

    def hold_kubectl() -> bool:
        """To be sure that it is there when its caller is not."""
        if pid := child_named(command.process.pid, "kubectl"):
            os.kill(pid, signal.SIGSTOP)
            found.append(pid)
        return bool(found)

    with own.start("up") as command:
        command.said("nodes: ")
        command.until(hold_kubectl, "kubectl was called")
        os.kill(command.process.pid, signal.SIGKILL)
        command.finish()
        down = own.run("down")
    assert down.code == 0
    assert not is_alive(found[0])
    assert own.remains() == []


def test_an_up_that_was_stopped_with_ctrl_z_does_not_keep_down_from_cleaning(own: OwnLab) -> None:
    with own.start("up") as command:
        command.said("network: ")
        command.signal_group(signal.SIGSTOP)
        assert own.run("status").out == f"a command (pid {command.process.pid}) is bringing it up or down\n"
        down = own.run("down")
        assert down.code == 0, down
        assert f"ending the command (pid {command.process.pid})" in down.out
        assert command.finish().code == 130
    assert own.remains() == []


def test_what_is_left_of_a_lab_whose_folder_was_removed_is_not_in_the_way(own: OwnLab) -> None:
    before = replace(own, folder=own.folder.with_name(f"{own.folder.name}-before"))
    with before.start("up") as command:
        command.said("network: ")
        os.kill(command.process.pid, signal.SIGKILL)
        command.finish()
    shutil.rmtree(before.folder)
    with own.start("up") as command:
        command.said("network: ")
        assert [line for line in before.remains() if line.startswith("process")] == []
        command.signal_group(signal.SIGINT)
        assert command.finish().code == 130
    assert own.remains() == []


def test_a_lab_of_the_name_that_was_killed_in_another_folder_is_not_in_the_way(own: OwnLab) -> None:
    """A machine that runs tests again and again, each time in a new folder, must not need a person to clean it."""
    before = replace(own, folder=own.folder.with_name(f"{own.folder.name}-before"))
    try:
        with before.start("up") as command:
            command.said("API server: ")
            os.kill(command.process.pid, signal.SIGKILL)
            command.finish()
        processes.kill_all(processes.marked(before.folder))
        with own.start("up") as command:
            command.said(f"removed the links of lab `{own.name}` in {before.folder}, which was killed")
            command.said("network: ")
            command.signal_group(signal.SIGINT)
            assert command.finish().code == 130
        assert (before.folder / "logs").is_dir()  # for whoever asks what happened
    finally:
        assert before.run("down").code == 0
    assert own.remains() + before.remains() == []


@pytest.mark.parametrize("note", ["state.json", "run/etcd.json", "guest-a/server.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", '{"topology": [], "pid": "x", "token": null}'])
def test_damaged_notes_do_not_keep_down_from_cleaning(own: OwnLab, note: str, text: str) -> None:
    path = own.folder / note
    path.parent.mkdir(parents=True)
    (own.folder / ".virtualserver-lab").touch()
    path.write_text(text)
    ended = own.run("down")
    assert ended.code == 0, ended
    assert own.remains() == []


def test_who_is_ended_takes_along_what_it_had_started(tmp_path: Path) -> None:
    up = str(tmp_path / "up")
    script = f"import subprocess, time; subprocess.Popen(['sleep', '60']); open({up!r}, 'w'); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", script])
    try:
        assert any((tmp_path / "up").exists() for _ in wait_until(10))
        found = exclusive.descendants(parent.pid)
        assert [processes.command_name(pid) for pid in found] == ["sleep"]
    finally:
        processes.kill_all([*exclusive.descendants(parent.pid), parent.pid])
        parent.wait()
