"""`make lab` twice, at once and one after the other; what of it dies later; and `make lab-down`.

All on one lab, on a small disk: the tests that break it are the last.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from labtests.command import Ended
from labtests.drive import HOSTS, OwnLab, own_lab, small_disk
from labtests.machine import fill


@dataclass(frozen=True)
class Made:
    lab: OwnLab
    ended: list[Ended]
    """How two commands ended that were started at once."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with own_lab(tmp_path_factory.mktemp("up")) as own, small_disk(own, 510) as lab:
        with lab.start("up") as one, lab.start("up") as other:
            ended = [one.finish(), other.finish()]
        yield Made(lab, ended)


@pytest.fixture
def up(made: Made) -> OwnLab:
    return made.lab


def test_of_two_at_once_one_makes_it_and_the_other_waits_and_finds_it(made: Made) -> None:
    assert [ended.code for ended in made.ended] == [0, 0], made
    finder, maker = sorted(made.ended, key=lambda ended: len(ended.out))
    assert finder.out.startswith("waiting for the command (pid ")
    assert f"the lab in {made.lab.folder} is already up" in finder.out
    assert "network: " in maker.out
    for part in ("controller", "agent-director-1", "agent-director-2"):
        assert f"{part}: begins its work" in maker.out, "people wait for these: what they hear is not nothing"


def test_what_it_says_at_the_end_names_hosts_kubeconfig_and_the_way_out(made: Made) -> None:
    for ended in made.ended:
        assert all(host in ended.out for host in HOSTS)
        assert f"{Path(*made.lab.folder.parts[-3:])}/kubeconfig" in ended.out
        assert made.lab.remedy.removeprefix("run: ") in ended.out


def test_a_second_up_says_so_and_changes_nothing(up: OwnLab) -> None:
    before = up.daemons()
    again = up.run("up")
    assert again.code == 0
    assert again.out.startswith(f"the lab in {up.folder} is already up")
    assert again.err == ""
    assert up.daemons() == before


def test_status_names_every_part_and_its_code_is_good(up: OwnLab) -> None:
    status = up.run("status")
    assert status.code == 0, status
    running = {line.split()[0] for line in status.out.splitlines() if line.endswith(" running")}
    parts = {"etcd", "kube-apiserver", "guest-a", "controller", "agent-director-1", "agent-director-2"}
    assert parts <= running


def test_make_hands_a_command_over_as_it_was_typed(up: OwnLab) -> None:
    typed = """for i in 1 2; do echo "$i" '$i' `hostname` $(echo "a  b"); done; exit 3"""
    with up.make("lab-exec", "HOST=guest", f"CMD={typed}") as command:
        ended = command.finish()
    assert ended.out == f"1 $i {up.name}-a a b\n2 $i {up.name}-a a b\n"
    assert "Error 3" in ended.err


@pytest.mark.parametrize(
    ("host", "typed", "code", "said"),
    [
        ("", "true", 1, "lab: exec needs a host; for example: "),
        ("guest", " ", 1, "lab: exec needs a command; for example: "),
        ("-h", "true", 1, "lab: no host `-h`; there are: client"),
        ('"; touch /tmp/odd; "', "true", 1, 'lab: no host `"; touch /tmp/odd; "`; there are: client'),
        ("guest", "-e true", 127, "sh: 1: -e: not found"),
    ],
)
def test_make_tells_what_is_odd_about_host_or_command(up: OwnLab, host: str, typed: str, code: int, said: str) -> None:
    with up.make("lab-exec", f"HOST={host}", f"CMD={typed}") as command:
        ended = command.finish()
    assert ended.err.splitlines()[0].startswith(said), ended
    assert ended.err.splitlines()[-1].endswith(f"Error {code}")
    assert ended.out == ""


def test_another_topology_than_the_one_that_is_up_is_refused(up: OwnLab) -> None:
    ended = up.run("up", "--topology", "three")
    assert ended.code == 1
    assert "is up with topology one, not three; run first: " in ended.complaint
    assert ended.complaint.endswith(up.remedy.removeprefix("run: "))


def test_what_needs_a_lab_names_the_command_that_makes_it(up: OwnLab) -> None:
    other = replace(up, folder=up.folder.with_name("other"))
    ended = other.run("exec", "client", "true")
    assert ended.complaint == f"lab: no lab is up in {other.folder}; {other.remedy.replace(' lab down ', ' lab up ')}"


def test_the_same_name_in_another_folder_is_refused_and_its_down_does_not_touch_it(up: OwnLab) -> None:
    before = up.daemons()
    other = replace(up, folder=up.folder.with_name("other"))
    ended = other.run("up")
    assert ended.code == 1
    assert f"a lab named `{up.name}` is up already, in {up.folder}" in ended.complaint
    assert ended.complaint.endswith(up.remedy)
    lines = other.run("down").out.splitlines()
    assert lines[0] == f"lab-down {up.name}: nothing to remove"
    assert lines[1].startswith(f"a lab of that name is up in {up.folder}")
    assert up.daemons() == before


def test_ctrl_c_ends_a_command_on_its_host_too(up: OwnLab) -> None:
    with up.start("exec", "client", "echo begun; exec sleep 4321") as command:
        command.said("begun")
        command.signal_group(signal.SIGINT)
        ended = command.finish()
    assert ended.code == 130
    assert ended.complaint == "lab: interrupted; the command was ended on the host too"
    assert up.run("exec", "client", "! pgrep -f 'sleep 432[1]'").code == 0


def test_a_part_that_was_killed_is_told_by_status_and_up_and_whoever_waits_for_it(up: OwnLab) -> None:
    with up.start("exec", "client", "echo begun; exec sleep 4321") as waiting:
        waiting.said("begun")
        dead: list[str] = []
        for part, program in (("kube-apiserver", "kube-apiserver"), ("guest-a", "linux.uml")):
            _kill(up, program)
            dead.append(part)
            _says_what_is_dead(up, dead)
        assert up.run("exec", "client", "true").complaint == f"lab: guest-a is dead; {up.remedy}"
        assert "does not answer" in waiting.finish().complaint


def _kill(up: OwnLab, program: str) -> None:
    victims = [pid for pid in up.daemons() if Path(f"/proc/{pid}/exe").readlink().name == program]
    assert victims
    for pid in victims:
        os.kill(pid, signal.SIGKILL)


def _says_what_is_dead(up: OwnLab, dead: list[str]) -> None:
    status = up.run("status")
    assert status.code == 1
    shown = {line.split()[0] for line in status.out.splitlines() if line.endswith(" dead")}
    assert set(dead) <= shown, status
    again = up.run("up")
    assert again.code == 1
    assert f"is up, but dead: {', '.join(dead)}" in again.complaint
    assert again.complaint.endswith(up.remedy)


def test_a_disk_that_gets_full_later_is_told_by_status(up: OwnLab) -> None:
    fill(up.folder.parent / "filling")
    assert up.run("status").complaint == f"lab: the disk of {up.folder} is full: 0 MB are free"


def test_down_removes_every_trace_and_may_be_repeated(up: OwnLab) -> None:
    assert {part.split()[0] for part in up.remains()} == {"process", "link", "file"}
    with up.make("lab-down") as command:
        down = command.finish()
    assert down.code == 0, down
    assert all(line.startswith(f"lab-down {up.name}: ") for line in down.out.splitlines())
    assert f"removed {up.folder}" in down.out
    assert up.remains() == []
    assert up.run("down").out == f"lab-down {up.name}: nothing to remove\n"
    assert up.run("status").out == "down\n"
