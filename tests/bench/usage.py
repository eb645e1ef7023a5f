"""(d): what an agent weighs."""

import os
import statistics
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from bench.figures import Figure
from lab import processes
from lab.lab import Lab

IMPORT = "import time; t = time.perf_counter(); import virtualserver.agent.main; print(time.perf_counter() - t)"
RESIDENT = IMPORT + "; print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmRSS')][0])"
LIBRARIES = "the API client with aiohttp, and pydantic, nearly all of it; our own modules are little"


def native() -> list[Figure]:
    """Import time and memory after importing, on the machine itself."""
    runs = [_native() for _ in range(5)]
    return [
        Figure(
            "agent import time (native)", statistics.median(run[0] for run in runs), "s", f"median of 5; {LIBRARIES}"
        ),
        Figure("agent memory after imports (native)", statistics.median(run[1] for run in runs), "MB", LIBRARIES),
    ]


def import_in_guest(lab: Lab) -> Figure:
    found = [float(lab.guest.run([sys.executable, "-c", IMPORT], timeout=60).out) for _ in range(2)]
    note = f"second of two ({found[0]:.2f} s, {found[1]:.2f} s); page faults and system calls of User-Mode Linux"
    return Figure("agent import time (User-Mode Linux)", found[1], "s", note)


def resident(lab: Lab, director: str, servers: int) -> Figure:
    """VmRSS of the agent that runs there, by the guest's own account."""
    process = lab.agents[director].process
    assert process is not None, f"the agent of {director} does not run"
    shown = lab.guest.run(["grep", "VmRSS", f"/proc/{process.pid}/status"]).out
    note = f"the active director's VmRSS in the guest, while in use; {LIBRARIES}"
    return Figure(
        f"agent memory, {servers} virtual server{'s' * (servers > 1)} (User-Mode Linux)",
        int(shown.split()[1]) / 1024,
        "MB",
        note,
    )


def processor(lab: Lab) -> float:
    """Seconds of processor time that the first guest has had so far, by the machine's account (proc_pid_stat(5)).

    A guest is a group of processes of the machine; what a busy machine kept from them does not count.
    """
    ticks = 0
    for pid in processes.marked(lab.guests["a"].home):
        with suppress(FileNotFoundError, ProcessLookupError):
            stat = Path(f"/proc/{pid}/stat").read_text()
            ticks += sum(int(field) for field in stat[stat.rindex(")") + 2 :].split()[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _native() -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-c", RESIDENT], check=True, capture_output=True, text=True, timeout=60)
    seconds, kilobytes = done.stdout.split()
    return float(seconds), int(kilobytes) / 1024
