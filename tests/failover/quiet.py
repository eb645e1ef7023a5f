"""Keep what else runs on the machine out of a measurement, for its few seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PRIO_PGRP, setpriority
from pathlib import Path

from lab.lab import Lab

FIRST = -15
"""Niceness of the guests meanwhile: a processor that one of them wants is given to it at once."""


@contextmanager
def guests_first(lab: Lab) -> Iterator[None]:
    """A guest is a session of its own, so where the kernel groups by session that is what counts."""
    _set(lab, FIRST)
    try:
        yield
    finally:
        _set(lab, 0)


def _set(lab: Lab, niceness: int) -> None:
    for guest in lab.guests.values():
        if guest.daemon is not None and guest.daemon.alive:
            group = Path(f"/proc/{guest.daemon.pid}/autogroup")
            if group.exists():
                group.write_text(str(niceness))
            with suppress(OSError):
                setpriority(PRIO_PGRP, guest.daemon.pid, niceness)
