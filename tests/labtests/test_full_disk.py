"""A full disk: a message that names the folder and the room it needs, and nothing is left."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lab.console import LabError
from lab.lab import Lab
from labtests.drive import OwnLab, small_disk
from labtests.machine import fill


def test_a_disk_that_is_too_small_is_said_before_anything_is_made(own: OwnLab) -> None:
    with small_disk(own, 400) as inside:
        ended = inside.run("up")
        assert ended.code == 1
        assert ended.complaint == f"lab: not enough room for {inside.folder}: 400 MB are free, 500 MB are needed"
        assert inside.remains() == []


def test_room_for_the_guests_memory_is_needed_when_shared_memory_is_small(own: OwnLab) -> None:
    """As in containers; that the small one is mounted is seen by this command alone."""
    inside_out = 'mount -t tmpfs -o size=64m lab-test /dev/shm && exec "$0" -m lab up "$@"'
    with small_disk(own, 600) as inside:
        line = ["unshare", "--mount", "sh", "-c", inside_out, sys.executable, *inside.options]
        with inside.start_program(line) as command:
            ended = command.finish()
        assert ended.complaint == f"lab: not enough room for {inside.folder}: 600 MB are free, 1524 MB are needed"
        assert inside.remains() == []


def test_what_a_lab_is_replaced_by_is_what_was_asked_for(own: OwnLab) -> None:
    """And not what the notes of the earlier one say; seen before anything is made, for want of room."""
    with small_disk(own, 400) as inside:
        inside.folder.mkdir()
        (inside.folder / ".virtualserver-lab").touch()
        (inside.folder / "state.json").write_text('{"topology": "one", "phase": "starting"}')
        lab = Lab(inside.name, inside.folder, topology="three", quiet=True)
        with pytest.raises(LabError, match="not enough room"):
            lab.up(replace=True)
        assert lab.topology == "three"
        assert set(lab.guests) == {"a", "b", "c"}


@pytest.mark.parametrize("step", ["network: ", "API server: "])
def test_a_disk_that_gets_full_meanwhile(own: OwnLab, step: str) -> None:
    with small_disk(own, 510) as inside:
        with inside.start("up") as command:
            command.said(step)
            fill(inside.folder.parent / "filling")
            ended = command.finish()
        assert ended.code == 1
        assert ended.complaint == f"lab: the disk of {inside.folder} is full: 0 MB are free, a lab needs 500 MB"
        assert inside.remains() == []


def test_a_folder_that_is_a_mount_point_is_emptied(own: OwnLab) -> None:
    own.folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "lab-test", str(own.folder)], check=True)
    try:
        (own.folder / ".virtualserver-lab").touch()
        ended = own.run("down")
        assert ended.code == 0, ended
        assert ended.out == f"lab-down {own.name}: emptied {own.folder}\n"
        assert list(own.folder.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", str(own.folder)], check=True)
