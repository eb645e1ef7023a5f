"""(e): connections and throughput through a director, for each mode: ours, by hand, HAProxy and direct.

All four take turns in every round, every other round the other way about, because the machine is shared: what slows
one down slows its neighbours in time, and a drift falls on both. The figures are per second of processor time that the
guest got: other work on the machine changes those of the clock many times more than what is to be compared.

The guest has one processor for everybody, the agents included, and Python costs several times more there than on a
machine. So what kernels do with what they hold is compared while the agents are stopped, for all ways alike, and what
the agents take from it is a figure of its own.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from signal import SIGCONT, SIGSTOP

from bench import traffic, usage
from bench.figures import Figure
from bench.modes import BEHIND, MODES, NODES, Mode, virtual_address
from bench.ways import WAYS, active_director
from lab.console import say
from lab.lab import Lab

PEERS = ("by hand", "HAProxy", "direct")
CLOSE = ("ours", "by hand")
AT_WORK = "ours, agents at work"
"""Those whose ratio is about hundredths: they are measured several times in a turn."""
SECONDS = 1
"""Of one sample: many short ones see the same machine."""
SETTLE = 2.0
"""Seconds before their turn, in which agents report what they have just programmed."""
LIMIT = (
    "client, director and real servers share the guest's one processor, so this is what all of them cost together;"
    " frames between hosts are up to 64 KB, as with offloading; agents are stopped during a sample, but where said"
)


@dataclass(frozen=True)
class Measure:
    """One kind of traffic; `take` gets the lab, the address and how many seconds, returns how much in how many."""

    name: str
    unit: str
    take: Callable[[Lab, str, int], tuple[float, float]]


CONNECTIONS = Measure("TCP connections", "per CPU s", traffic.connections)
UPLOAD = Measure("TCP throughput", "Gbit per CPU s", traffic.throughput)
DOWNLOAD = Measure(
    "TCP throughput to the client", "Gbit per CPU s", lambda lab, to, s: traffic.throughput(lab, to, s, download=True)
)


def measure(lab: Lab, rounds: int, times: int) -> list[Figure]:
    """`rounds` turns of all four for each mode, in each of which ours and by hand are measured so many times."""
    figures: list[Figure] = []
    director = active_director(lab)
    with ExitStack() as stack:
        for host in (*BEHIND, *NODES):
            stack.enter_context(traffic.origin(lab, host))
        for mode in MODES:
            figures += _figures(mode, _rounds(lab, mode, director, rounds, times))
    return [replace(figures[0], note=f"{figures[0].note}. For all of these: {LIMIT}"), *figures[1:]]


def measures(mode: Mode) -> list[Measure]:
    """What flows back to the client passes the director with NAT only."""
    return [CONNECTIONS, UPLOAD, *([DOWNLOAD] if mode.name == "NAT" else [])]


@dataclass(frozen=True)
class Sample:
    """Exchanges or Gbit in a second of the guest's processor time, and in a second of the clock."""

    busy: float
    clock: float


Samples = dict[str, dict[str, list[Sample]]]
"""By kind of traffic and way."""


def _rounds(lab: Lab, mode: Mode, director: str, rounds: int, times: int) -> Samples:
    samples: Samples = {one.name: {way: [] for way in (*WAYS, AT_WORK)} for one in measures(mode)}
    order = [(name, way, virtual_address(mode, at)) for at, (name, way) in enumerate(WAYS.items())]
    for number in range(rounds):
        say(f"bench: {mode.name}, round {number + 1} of {rounds}")
        for name, way, vip in order if number % 2 == 0 else order[::-1]:
            with way(lab, mode, vip, director) as address:
                time.sleep(SETTLE if name in CLOSE else 0)
                CONNECTIONS.take(lab, address, SECONDS)  # the first after a change meets cold caches
                for one in measures(mode) * (times if name in CLOSE else 1):
                    with _stopped(lab):
                        samples[one.name][name].append(_sample(lab, one, address))
                    if name == "ours":
                        samples[one.name][AT_WORK].append(_sample(lab, one, address))
    return samples


@contextmanager
def _stopped(lab: Lab) -> Iterator[None]:
    """No agent runs during the block; monitors take no harm from a second."""
    try:
        for agent in lab.agents.values():
            agent.signal(SIGSTOP)
        yield
    finally:
        for agent in lab.agents.values():
            agent.signal(SIGCONT)


def _sample(lab: Lab, one: Measure, address: str) -> Sample:
    before = usage.processor(lab)
    amount, seconds = one.take(lab, address, SECONDS)
    return Sample(amount / (usage.processor(lab) - before), amount / seconds)


def _figures(mode: Mode, samples: Samples) -> list[Figure]:
    found = []
    for one in measures(mode):
        taken = samples[one.name]
        busy = {way: [sample.busy for sample in listed] for way, listed in taken.items()}
        median = {way: statistics.median(values) for way, values in busy.items()}
        clock = {way: statistics.median(sample.clock for sample in listed) for way, listed in taken.items()}
        note = (
            f"medians of {'; '.join(_spread(way, values) for way, values in busy.items())}. The spread alone makes the"
            f" ratio to by hand uncertain by {_uncertainty(busy['ours'], busy['by hand']):.0%}. By the clock, with"
            f" whatever else the machine did: {', '.join(f'{way} {_short(value)}' for way, value in clock.items())}"
        )
        for peer in PEERS:
            found.append(Figure(f"{one.name} through {mode.name}", median["ours"], one.unit, note, median[peer], peer))
            note = ""
        working = f"what everything costs together, agents too: by the clock {_short(clock[AT_WORK])}"
        name = f"{one.name} through {mode.name}, agents at work"
        found.append(Figure(name, median[AT_WORK], one.unit, working, median["by hand"], "by hand"))
    return found


def _uncertainty(*ways: list[float]) -> float:
    """Relative standard error of a quotient of medians (1.25 times that of means, as for normal samples).

    Infinite when there is one sample only: that tells nothing about the next.
    """
    if min(map(len, ways)) < 2:
        return math.inf
    return 1.25 * math.sqrt(sum((statistics.stdev(one) / statistics.mean(one)) ** 2 / len(one) for one in ways))


def _spread(way: str, values: list[float]) -> str:
    return f"{way} {' '.join(map(_short, values))}"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"
