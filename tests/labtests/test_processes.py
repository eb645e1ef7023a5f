"""Processes of a lab are known, and ended, without a trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import cleanup, links, names, network, processes, processor
from lab.console import LabError, wait_until
from lab.processes import Daemon


def test_what_was_killed_is_off_the_process_table(tmp_path: Path) -> None:
    started = [Daemon.start(f"sleep-{number}", ["sleep", "600"], tmp_path) for number in range(20)]
    pids = {daemon.pid for daemon in started}
    # The kernel closes what tells of a start a moment before the environment can be read.
    assert any(set(processes.marked(tmp_path)) == pids for _ in wait_until(5))
    for daemon in started:
        processes.kill_all([daemon.pid])
        assert not Path(f"/proc/{daemon.pid}").exists()


def test_what_died_by_itself_is_off_the_process_table_once_it_was_asked_for(tmp_path: Path) -> None:
    daemon = Daemon.start("true", ["true"], tmp_path)
    while daemon.alive:
        pass
    assert not Path(f"/proc/{daemon.pid}").exists()


@pytest.mark.parametrize("name", ["test", "a", "abcdefgh"])
def test_a_lab_beside_another_has_a_name_and_addresses_of_its_own(name: str) -> None:
    made = {names.beside(name, purpose) for purpose in ("own", "three")}
    assert len(made) == 2
    assert all(one.isalnum() and one == one.lower() and len(one) <= 8 for one in made)
    assert all(network.management(one) != network.management(name) for one in made)


def test_guests_that_start_together_get_a_processor_each(tmp_path: Path) -> None:
    """As many as there are; the thread that starts them may use all of them afterwards."""
    everywhere = os.sched_getaffinity(0)
    taken = []
    for number in range(min(len(everywhere), 8)):
        with processor.tied(hosts=1000) as known:  # more than any lab has that is up meanwhile
            daemon = Daemon.start(f"sleep-{number}", ["sleep", "600"], tmp_path, env=known)
        # It has the environment a moment after it has begun.
        assert any(daemon.pid in processes.with_setting(processor.HOSTS) for _ in wait_until(5))
        taken.append(processes.affinity(daemon.pid))
        assert os.sched_getaffinity(0) == everywhere
    processes.kill_all(processes.marked(tmp_path))
    assert all(len(one) == 1 for one in taken)
    assert len(set.union(*taken)) == len(taken)


HOLDS = """\
import fcntl, struct, sys, time
tap = open("/dev/net/tun", "r+b", buffering=0)
fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH", sys.argv[1].encode(), 0x1002))  # TUNSETIFF: IFF_TAP, IFF_NO_PI
print("held", flush=True)
time.sleep(600)
"""


def test_a_process_that_holds_a_cable_is_found_and_goes_with_the_lab(tmp_path: Path) -> None:
    """Whatever became of its notes and its mark: while it lives, no guest can use that cable."""
    name = names.beside(names.of_tests(), "held")
    tap = f"{links.prefix(name)}b0"
    with subprocess.Popen([sys.executable, "-c", HOLDS, tap], stdout=subprocess.PIPE, cwd="/", env={}) as stray:
        assert stray.stdout is not None
        assert stray.stdout.readline() == b"held\n"
        assert links.holders(tap, "vs-none") == {stray.pid: tap}
        with pytest.raises(LabError, match=rf"busy.*held by processes: \[{stray.pid}\]"):
            links.add_tap(tap, "no-bridge", tmp_path)
        cleanup.remove(name, tmp_path)
        assert not Path(f"/proc/{stray.pid}").exists()
    assert not links.exists(tap)
