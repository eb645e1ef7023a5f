"""(c): a change through the API server until it is in the kernel, with few and with many virtual servers."""

import json
import sys
import time

from bench import usage
from bench.figures import Figure
from lab.console import LabError, say
from lab.lab import Lab

VIP = "198.18.0.100"
REAL_SERVERS = ("198.18.1.21", "198.18.1.22", "198.18.1.23")
COLLECTION = "/apis/virtualserver.dev/v1alpha1/namespaces/default/virtualservers"
SETTLE = 300
"""Seconds that the agents have to program all the others."""


def measure(lab: Lab, changes: int = 100, many: int = 500) -> list[Figure]:
    _create(lab, "probe", VIP)
    director = _active(lab)
    figures = _changes(lab, director, changes, 1)
    figures.append(usage.resident(lab, director, 1))
    if many > 1:
        say(f"bench: creating {many - 1} more virtual servers")
        for number in range(1, many):
            _create(lab, f"other-{number}", f"198.19.{number // 250}.{1 + number % 250}")
        _settled(lab, director, many)
        figures += _changes(lab, director, changes, many)
        figures.append(usage.resident(lab, director, many))
    return figures


def _create(lab: Lab, name: str, vip: str) -> None:
    """Without monitors: checks of the real servers are not what is measured."""
    spec = {
        "addresses": [vip],
        "ports": [{"port": 80}],
        "scheduler": {"name": "rr"},
        "realServers": [{"address": address} for address in REAL_SERVERS],
        "monitors": [],
    }
    made = {"apiVersion": "virtualserver.dev/v1alpha1", "kind": "VirtualServer", "metadata": {"name": name}}
    lab.api.request("POST", COLLECTION, made | {"spec": spec})


def _active(lab: Lab) -> str:
    """The director that has the virtual address."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for name in lab.agents:
            if f" {VIP}/" in lab.host(name).run("ip -4 address show").out:
                return name
        time.sleep(0.5)
    raise LabError(f"no director took {VIP} within 60 s")


def _settled(lab: Lab, director: str, services: int) -> None:
    deadline = time.monotonic() + SETTLE
    while time.monotonic() < deadline:
        found = lab.host(director).run("ip -4 address show | grep -c '198.1[89].*/32'", check=False, timeout=60).out
        if int(found or 0) >= services:
            time.sleep(5)
            return
        time.sleep(2)
    raise LabError(f"{director} has {found.strip()} of {services} virtual addresses after {SETTLE} s")


def _changes(lab: Lab, director: str, changes: int, present: int) -> list[Figure]:
    say(f"bench: {changes} changes with {present} present")
    arguments = [str(lab.api.kubeconfig), str(lab.api.authority), "probe", VIP, str(changes)]
    env = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    out = lab.host(director).run([sys.executable, "-m", "bench.applying", *arguments], timeout=550, env=env).out
    samples: list[dict[str, float]] = json.loads(out.strip().splitlines()[-1])
    answered = _percentile(samples, "answered", 50)
    gaps = (
        f"{_percentile(samples, 'gap', 50) * 1000:.0f} ms (p50), {_percentile(samples, 'gap', 99) * 1000:.0f} ms (p99)"
    )
    note = (
        f"of it {answered * 1000:.0f} ms (p50) until the API server had answered; resolution: the longest time between"
        f" two looks at the kernel, {gaps}; the guest has one processor for all"
    )
    what = (
        f"change applied to change in kernel, {present} virtual server{'s' * (present > 1)} present, {changes} changes"
    )
    return [
        Figure(f"{what}: p50", _percentile(samples, "total", 50) * 1000, "ms", note),
        Figure(f"{what}: p99", _percentile(samples, "total", 99) * 1000, "ms", ""),
    ]


def _percentile(samples: list[dict[str, float]], name: str, percent: int) -> float:
    """The smallest sample that at least that many of a hundred do not exceed."""
    values = sorted(sample[name] for sample in samples)
    return values[max(0, -(-len(values) * percent // 100) - 1)]
