"""`make test` runs in two processes, each with labs of its own: a lab spends most of its time waiting."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

TOGETHER = {"unit", "contract", "vrrp", "chart", "cluster", "kernel"}
"""Folders whose tests share something that takes time to make; elsewhere the tests of a file stay together."""
PAIR = "test_failover_"
"""How the files begin whose tests share the lab with directors that are machines of their own."""
PATIENCE = 60.0
"""Seconds that a process has to tidy up."""


class Sharing(LoadScopeScheduling):
    """Tests that share something run in one process, in the order in which they were found."""

    def _split_scope(self, nodeid: str) -> str:
        path = PurePosixPath(nodeid.split("::", 1)[0])
        if path.parent.name in TOGETHER:
            return str(path.parent)
        return str(path.parent / PAIR) if path.name.startswith(PAIR) else str(path)


class Workers:
    """A plugin of the process that shares tests out; in one that runs them alone nothing of it is called."""

    def __init__(self) -> None:
        self._workers: list[WorkerController] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Sharing:
        return Sharing(config, log)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodeready(self, node: WorkerController) -> None:
        self._workers.append(node)

    def pytest_keyboard_interrupt(self) -> None:
        """Pass it on and let them tidy up: left alone, they are killed after ten seconds."""
        if not self._workers:
            return
        for pid in map(int, Path("/proc/thread-self/children").read_text().split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
        for one in self._workers:
            with suppress(OSError, EOFError, one.channel.TimeoutError, one.channel.RemoteError):
                one.channel.waitclose(PATIENCE)
