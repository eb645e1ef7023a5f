"""(e): connections and throughput through a director, for each mode: ours, by hand, HAProxy and direct.

All four take turns in every round, every other round the other way about, because the machine is shared: what slows
one down slows its neighbours in time, and a drift falls on both.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from bench import traffic
from bench.figures import Figure
from bench.modes import BEHIND, MODES, NODES, Mode, virtual_address
from bench.ways import WAYS, active_director
from lab.console import say
from lab.lab import Lab

PEERS = ("by hand", "HAProxy", "direct")
CLOSE = ("ours", "by hand")
"""Those whose ratio is about hundredths: they are measured several times in a turn."""
SECONDS = 1
"""Of one sample: many short ones see the same machine."""
SETTLE = 1.0
"""Seconds before a turn, in which agents report what they have just programmed."""
LIMIT = (
    "client, director and real servers share the guest's one processor, so this is what all of them cost together;"
    " frames between hosts are up to 64 KB, as with offloading"
)


@dataclass(frozen=True)
class Measure:
    """One kind of traffic; `take` gets the lab, the address and how many seconds."""

    name: str
    unit: str
    take: Callable[[Lab, str, int], float]


CONNECTIONS = Measure("TCP connections", "/s", traffic.connections)
UPLOAD = Measure("TCP throughput", "Gbit/s", traffic.throughput)
DOWNLOAD = Measure(
    "TCP throughput to the client", "Gbit/s", lambda lab, to, s: traffic.throughput(lab, to, s, download=True)
)


def measure(lab: Lab, rounds: int, times: int) -> list[Figure]:
    """`rounds` turns of all four for each mode, in each of which ours and by hand are measured so many times."""
    figures = []
    director = active_director(lab)
    with ExitStack() as stack:
        for host in (*BEHIND, *NODES):
            stack.enter_context(traffic.origin(lab, host))
        for mode in MODES:
            figures += _figures(mode, _rounds(lab, mode, director, rounds, times))
    return figures


def measures(mode: Mode) -> list[Measure]:
    """What flows back to the client passes the director with NAT only."""
    return [CONNECTIONS, UPLOAD, *([DOWNLOAD] if mode.name == "NAT" else [])]


Samples = dict[str, dict[str, list[float]]]
"""By kind of traffic and way."""


def _rounds(lab: Lab, mode: Mode, director: str, rounds: int, times: int) -> Samples:
    samples: Samples = {one.name: {way: [] for way in WAYS} for one in measures(mode)}
    order = [(name, way, virtual_address(mode, at)) for at, (name, way) in enumerate(WAYS.items())]
    for number in range(rounds):
        say(f"bench: {mode.name}, round {number + 1} of {rounds}")
        for name, way, vip in order if number % 2 == 0 else order[::-1]:
            with way(lab, mode, vip, director) as address:
                time.sleep(SETTLE)
                for one in measures(mode) * (times if name in CLOSE else 1):
                    samples[one.name][name].append(one.take(lab, address, SECONDS))
    return samples


def _figures(mode: Mode, samples: Samples) -> list[Figure]:
    found = []
    for one in measures(mode):
        taken = samples[one.name]
        median = {way: statistics.median(values) for way, values in taken.items()}
        note = f"median of these: {'; '.join(_spread(way, values) for way, values in taken.items())}; {LIMIT}"
        for peer in PEERS:
            name = f"{one.name} through {mode.name}"
            found.append(Figure(name, median["ours"], one.unit, note, median[peer], peer))
            note = ""
    return found


def _spread(way: str, values: list[float]) -> str:
    return f"{way} " + " ".join(f"{value:.0f}" if value >= 100 else f"{value:.2f}" for value in values)
