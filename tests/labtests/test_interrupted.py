"""Ctrl-C at any moment of `make lab`: code 130, one clear line, and nothing is left."""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import pytest

from labtests.command import Command, Ended
from labtests.drive import OwnLab

_CHANCE = random.Random(18)
INSTANTS = [round(_CHANCE.uniform(0, 2.5), 3) for _ in range(4)]
"""Seconds after the command has begun; chosen once, so that a failure can be had again."""


def was_removed(own: OwnLab, command: Command) -> Ended:
    ended = command.finish()
    assert own.remains() == []
    assert ended.code == 130, ended
    return ended


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("network: ", signal.SIGINT),
        ("API server: ", signal.SIGTERM),
        ("real servers: ", signal.SIGHUP),
        ("product: ", signal.SIGINT),
    ],
)
def test_an_interruption_after_a_step_leaves_nothing(own: OwnLab, step: str, number: signal.Signals) -> None:
    with own.start("up") as command:
        command.said(step)
        command.signal_group(number)
        ended = was_removed(own, command)
    assert ended.complaint == "lab: interrupted; nothing of the lab is left"


@pytest.mark.parametrize("delay", INSTANTS)
def test_an_interruption_at_any_instant_leaves_nothing(own: OwnLab, delay: float) -> None:
    with own.start("up") as command:
        command.listens()
        time.sleep(delay)
        command.signal_group(signal.SIGINT)
        ended = was_removed(own, command)
    assert ended.complaint == "lab: interrupted; nothing of the lab is left"


def test_an_impatient_second_and_third_ctrl_c_changes_nothing(own: OwnLab) -> None:
    with own.start("up") as command:
        command.said("nodes: ")
        for _ in range(40):  # as fast as keys repeat, over the whole time that the removal takes
            command.signal_group(signal.SIGINT)
            time.sleep(0.02)
        ended = was_removed(own, command)
    assert ended.complaint == "lab: interrupted; nothing of the lab is left"


def test_when_nobody_reads_any_more_it_says_that_the_lab_is_gone(own: OwnLab) -> None:
    line = ["sh", "-c", '"$@" | head -n 1', "sh", sys.executable, "-m", "lab", "up", *own.options]
    with own.start_program(line) as command:
        ended = command.finish()
    assert own.remains() == []
    assert "network: " in ended.out
    assert ended.complaint == "lab: nobody reads what it says any more; nothing of the lab is left"


def test_a_terminal_that_is_closed_takes_the_half_made_lab_with_it(own: OwnLab) -> None:
    """Its programs get SIGHUP, and whatever they still write fails."""
    master, terminal = os.openpty()
    line = [sys.executable, "-m", "lab", "up", *own.options]
    with own.start_program(line, terminal=terminal) as command:
        os.close(terminal)
        seen = b""
        while b"guest-a: " not in seen:
            seen += os.read(master, 4096)
        os.close(master)
        was_removed(own, command)
