"""keepalived as a process of ours: it never outlives the supervisor, and the supervisor sees all of it end."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from virtualserver.kernel.rundir import RunDir

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_PRIORITY = 50
_RUNAWAY = 30
"""Seconds of processor time without a pause after which the kernel ends a process of real-time priority: far more
than thousands of addresses take, and a loop without end does not hold a processor for ever."""
_POLITE = 10.0
"""Seconds that keepalived gets to send its last advertisement and take its addresses off."""
_WAITED = "voluntary_ctxt_switches:"
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans: keepalived's child is seen to end, too."""
    if _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot become the reaper of keepalived's processes")


class Keepalived:
    """A running keepalived, VRRP only. It does not start its child again: that is the supervisor's business."""

    def __init__(self, run_dir: RunDir, program: str = "keepalived") -> None:
        self.started = time.monotonic()
        words = [program, "--dont-fork", "--vrrp", "--dont-respawn", "--log-console", "--no-syslog"]
        files = {
            "use-file": run_dir.configuration,
            "pid": _pid(run_dir, "keepalived"),
            "vrrp_pid": _pid(run_dir, "vrrp"),
        }
        command = [*words, *(f"--{option}={path}" for option, path in files.items())]
        for path in (files["pid"], files["vrrp_pid"]):  # of one that was killed: its numbers may be others' now
            path.unlink(missing_ok=True)
        self._vrrp_pid = files["vrrp_pid"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_prepare)
        if os.sched_getscheduler(self._process.pid) != os.SCHED_RR:
            log.warning("keepalived gets no real-time priority: a busy node may send too few advertisements")

    def reload(self) -> None:
        """Make it read its configuration again; what did not change goes on."""
        self._process.send_signal(signal.SIGHUP)

    def ended(self) -> bool:
        """Return whether its first process has ended; the other one may still be there (see ``end``)."""
        return self._process.poll() is not None

    def signs_of_life(self) -> int | None:
        """Return a number that grows whenever the process that speaks VRRP runs; None when it is not known.

        It waits between two advertisements, its own or another's, and works while it adds thousands of addresses: one
        that has done neither is stopped, or stuck in the kernel (``proc(5)``: ``voluntary_ctxt_switches``, ``utime``).
        """
        try:
            process = Path("/proc", self._vrrp_pid.read_text().strip())
            status, stat = (process / "status").read_text(), (process / "stat").read_text()
        except OSError:  # it is only beginning, or ending
            return None
        waited = sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(_WAITED))
        return waited + sum(map(int, stat.rpartition(")")[2].split()[11:13]))

    def end(self, patience: float = _POLITE) -> int:
        """End all of it, politely first, and return its exit code: afterwards none of its processes exists.

        ``patience`` is in seconds.
        """
        limit = time.monotonic() + patience
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        while not self._gone():
            if time.monotonic() > limit:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            time.sleep(0.002)
        return self._process.wait()

    def _gone(self) -> bool:
        """Reap what has ended; return whether nothing is left."""
        if not self.ended():
            return False
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        return False


def _pid(run_dir: RunDir, name: str) -> Path:
    return run_dir.path / f"{name}.pid"


def _prepare() -> None:
    """Run in the new process: it is told when the supervisor dies, and comes first on a busy node (if it may)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_PRIORITY))
        resource.setrlimit(resource.RLIMIT_RTTIME, (_RUNAWAY * 1_000_000, _RUNAWAY * 1_000_000))
