"""When keepalived is told to read its configuration again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from virtualserver.kernel.rundir import RunDir
from virtualserver.vrrp.process import Keepalived
from virtualserver.vrrp.supervisor import Supervisor


class Started(Keepalived):
    """One that began so many seconds ago; counts what it is told."""

    def __init__(self, ago: float) -> None:
        self.started = time.monotonic() - ago
        self.reloads = 0

    def reload(self) -> None:
        self.reloads += 1


@pytest.mark.parametrize(("ago", "reloads"), [(0.0, 0), (0.9, 0), (1.1, 1), (60.0, 1)])
def test_one_that_has_just_started_is_told_later(tmp_path: Path, ago: float, reloads: int) -> None:
    """Before it has set itself up a signal ends it, or is passed over, after it has read its configuration."""
    supervisor = Supervisor(RunDir(tmp_path))
    supervisor._keepalived = one = Started(ago)
    supervisor._take_word()
    assert one.reloads == reloads
    assert supervisor._reload_at == (None if reloads else one.started + 1.0)
