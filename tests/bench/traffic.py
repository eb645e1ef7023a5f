"""Short exchanges and long streams between hosts of the lab, by programs that need few system calls.

The web server is HAProxy, which answers by itself; clients are `wrk` (a new connection for each request) and `iperf3`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL

from bench.modes import SINK, WEB
from lab.console import LabError, wait_until
from lab.hosts import Process
from lab.lab import Lab

CLIENTS = 64
"""Connections that are open at a time: fewer leave the processor idle between them."""
_COMMON = """\
global
    nbthread 1
    maxconn 4000
defaults
    timeout connect 5s
    timeout client 10s
    timeout server 10s
"""
_ORIGIN = f"""\
frontend web
    mode http
    bind :{WEB}
    http-request return status 200 content-type text/plain string ok
"""


def proxy(vip: str, servers: Iterable[str]) -> str:
    """HAProxy's configuration as a TCP load balancer with the same schedulers as ours."""
    listed = list(servers)
    parts = [_COMMON, "    mode tcp\n"]
    for port, balance in ((WEB, "roundrobin"), (SINK, "source")):
        parts += [f"listen on-{port}\n    bind {vip}:{port}\n    balance {balance}\n"]
        parts += [f"    server s{number} {address}:{port}\n" for number, address in enumerate(listed)]
    return "".join(parts)


@contextmanager
def haproxy(lab: Lab, host: str, configuration: str) -> Iterator[None]:
    """HAProxy on that host, until the end of the block."""
    path = lab.folder / "bench" / f"{host}.cfg"
    path.parent.mkdir(exist_ok=True)
    path.write_text(configuration)
    with running(lab, host, ["haproxy", "-db", "-f", str(path)], WEB):
        yield


@contextmanager
def running(lab: Lab, host: str, command: list[str], port: int) -> Iterator[None]:
    """A program on that host from when it listens until the end of the block."""
    process = lab.host(host).spawn(command, f"bench-{Path(command[0]).name}-{host}")
    try:
        _listening(lab, host, port, process)
        yield
    finally:
        process.signal(SIGKILL)
        process.wait(10)


@contextmanager
def origin(lab: Lab, host: str) -> Iterator[None]:
    """What a real server of the benchmark runs."""
    with haproxy(lab, host, _COMMON + _ORIGIN), running(lab, host, ["iperf3", "-s"], SINK):
        yield


def connections(lab: Lab, address: str, seconds: int) -> tuple[float, float]:
    """Exchanges with a new connection each, from the client, and in how many seconds; LabError when any failed."""
    url = f"http://{address}:{WEB}/"
    command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "-H", "Connection: close", url]
    out = lab.host("client").run(command, timeout=seconds + 30).out
    count, rate = re.search(r"(\d+) requests in", out), re.search(r"Requests/sec:\s*([\d.]+)", out)
    if count is None or rate is None or int(count[1]) == 0 or "Socket errors" in out or "Non-2xx" in out:
        raise LabError(f"wrk to {address}: {out.strip()[-600:]}")
    return int(count[1]), int(count[1]) / float(rate[1])


def throughput(lab: Lab, address: str, seconds: int, *, download: bool = False) -> tuple[float, float]:
    """Gbit that arrived over one TCP connection, from the client or to it, and in how many seconds."""
    command = ["iperf3", "-J", "-c", address, "-p", str(SINK), "-t", str(seconds), *(["-R"] if download else [])]
    result = lab.host("client").run(command, timeout=seconds + 30, check=False)
    found = json.loads(result.out or "{}")
    if result.code or "error" in found:
        raise LabError(f"iperf3 to {address}: {found.get('error') or result.err}")
    received = found["end"]["sum_received"]
    return received["bytes"] * 8 / 1e9, float(received["seconds"])


def _listening(lab: Lab, host: str, port: int, process: Process) -> None:
    for _ in wait_until(10):
        if not process.running:
            break
        if lab.host(host).run(f"ss -Hltn sport = :{port}").out.strip():
            return
    raise LabError(f"{process.name} does not listen at port {port}; see {process.log}")
