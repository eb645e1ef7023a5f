"""What people type, `make lab` and `make test`, passes every signal on and leaves nothing either."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

from labtests.command import Command
from labtests.drive import OwnLab


def pytest_run(own: OwnLab, *options: str) -> AbstractContextManager[Command]:
    """One test that uses the session's lab, which is this one."""
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-qs", *options, "tests/labtests/sleeper.py"]
    return own.start_program(line, {"VIRTUALSERVER_TEST_LAB": own.name, "PYTEST_XDIST_WORKER": ""})


def test_make_that_is_killed_politely_takes_the_lab_with_it(own: OwnLab) -> None:
    with own.make("lab") as command:
        command.said("network: ")
        os.kill(command.process.pid, signal.SIGTERM)
        ended = command.finish()
    assert own.remains() == []
    assert "lab: interrupted; nothing of the lab is left" in ended.err.splitlines()


def test_a_test_run_that_is_ended_removes_its_lab(own: OwnLab) -> None:
    with pytest_run(own) as command:
        command.said(f"{own.name} is up")
        for _ in range(20):
            command.signal_group(signal.SIGTERM)
            time.sleep(0.05)
        ended = command.finish()
    assert own.remains() == []
    assert ended.code == 2, ended


def test_a_test_run_that_is_ended_while_its_lab_comes_up_removes_it_too(own: OwnLab) -> None:
    with pytest_run(own) as command:
        command.until((Path("/sys/class/net") / f"vs-{own.name}-a0").exists, "a link of the lab")
        for _ in range(20):
            command.signal_group(signal.SIGINT)
            time.sleep(0.05)
        ended = command.finish()
    assert own.remains() == []
    assert "KeyboardInterrupt" in ended.out  # its code may be that of a warning about what was cut short
    assert ended.code != 0


def test_a_test_run_in_several_processes_of_which_the_first_is_ended_removes_its_labs(own: OwnLab) -> None:
    """As make passes the signal on: to its child, not to the children of that."""
    with pytest_run(own, "--numprocesses=1", f"--basetemp={own.scratch / 'pytest'}") as command:
        command.until((own.folder / "guest-a").exists, "a guest of the lab")
        for _ in range(20):
            os.kill(command.process.pid, signal.SIGTERM)
            time.sleep(0.05)
        ended = command.finish()
    assert own.remains() == []
    assert ended.code == 2, ended


def test_an_interrupted_demo_removes_the_lab_that_it_was_bringing_up(own: OwnLab) -> None:
    with own.start_program([sys.executable, "-m", "lab.demo"], {"LAB": own.name, "KEEP": ""}) as command:
        command.until((Path("/sys/class/net") / f"vs-{own.name}-a0").exists, "a link of the lab")
        for _ in range(20):
            command.signal_group(signal.SIGINT)
            time.sleep(0.05)
        ended = command.finish()
    assert own.remains() == []
    assert ended.code == 130
    assert ended.complaint == "lab: interrupted; what it had brought up is removed"
