"""`make test` runs in two processes, each with labs of its own: a lab spends most of its time waiting."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path, PurePosixPath

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

TOGETHER = {"unit", "contract", "vrrp", "chart", "cluster", "kernel"}
"""Folders whose tests share something that takes time to make; elsewhere the tests of a file stay together."""
PAIR = "test_failover_"
"""How the files begin whose tests share the lab with directors that are machines of their own."""


class Sharing(LoadScopeScheduling):
    """Tests that share something run in one process, in the order in which they were found."""

    def _split_scope(self, nodeid: str) -> str:
        path = PurePosixPath(nodeid.split("::", 1)[0])
        if path.parent.name in TOGETHER:
            return str(path.parent)
        return str(path.parent / PAIR) if path.name.startswith(PAIR) else str(path)


def end(workers: list[WorkerController]) -> None:
    """Pass an interruption on and let them tidy up: left alone, they are killed after ten seconds."""
    for pid in map(int, Path("/proc/thread-self/children").read_text().split()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
    for worker in workers:
        with suppress(OSError, EOFError, worker.channel.TimeoutError, worker.channel.RemoteError):
            worker.channel.waitclose(60)
