"""Runs in the measured kernel: `python -m bench.inside SERVICES SERVERS ROUNDS`; writes one JSON line at its end.

Each round starts from an empty table and lets both programs fill it, the first one alternating. The fillings are
compared through `ipvsadm -Sn`: a program that left something out would have been fast for nothing.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from bench import wanted
from virtualserver.kernel.netlink import Netlink
from virtualserver.model.types import Owned, State
from virtualserver.plan.diff import diff

PATIENCE = 600
EMPTY = State()


def main() -> None:
    services, servers, rounds = (int(word) for word in sys.argv[1:4])
    intended = wanted.state(services, servers)
    kernel = Netlink(deadline=60)
    seconds: dict[str, list[float]] = {"ours": [], "ours_with_diff": [], "peer": []}
    with tempfile.NamedTemporaryFile("w", suffix=".rules") as file:
        file.write(wanted.rules(intended))
        file.flush()
        fill = [lambda: _ours(kernel, intended, seconds), lambda: _peer(file.name, seconds)]
        for number in range(rounds):
            _round(fill if number % 2 == 0 else fill[::-1], services * servers)
    _clear()
    _ours(kernel, intended, {"ours": [], "ours_with_diff": []})
    resync = [_resync(kernel, intended) for _ in range(3)]
    _clear()
    kernel.close()
    print("\n" + json.dumps({"seconds": seconds, "resync": resync}), flush=True)


def _round(fill: list[Callable[[], None]], servers: int) -> None:
    tables = []
    for program in fill:
        _clear()
        program()
        shown = _run("ipvsadm", "-Sn").splitlines()
        tables.append(sorted(shown))
        found = sum(line.startswith("-a") for line in shown)
        if found != servers:
            raise SystemExit(f"{found} of {servers} real servers are in the kernel")
    if tables[0] != tables[1]:
        raise SystemExit("the two programs left different tables")


def _ours(kernel: Netlink, intended: State, seconds: dict[str, list[float]]) -> None:
    began = time.monotonic()
    operations = diff(intended, EMPTY, Owned(), complete=True)
    planned = time.monotonic()
    outcomes = kernel.apply(operations)
    ended = time.monotonic()
    seconds["ours"].append(ended - planned)
    seconds["ours_with_diff"].append(ended - began)
    if refused := [one for one in outcomes if not one.ok]:
        raise SystemExit(f"{len(refused)} operations refused, first: {refused[0].message}")


def _peer(path: str, seconds: dict[str, list[float]]) -> None:
    with open(path) as rules:  # noqa: PTH123 - as it is given to a program
        began = time.monotonic()
        subprocess.run(["ipvsadm", "-R"], stdin=rules, check=True, timeout=PATIENCE)
        seconds["peer"].append(time.monotonic() - began)


def _resync(kernel: Netlink, intended: State) -> dict[str, float]:
    """What the agent does every time it looks: read all, compare all, and here find nothing to do."""
    before = kernel.writes
    wall, cpu = time.monotonic(), time.process_time()
    actual = kernel.read()
    read = time.process_time() - cpu
    operations = diff(intended, actual, Owned(frozenset(intended.services)), complete=True)
    kernel.apply(operations)
    spent = {"cpu": time.process_time() - cpu, "read_cpu": read, "wall": time.monotonic() - wall}
    return spent | {"writes": kernel.writes - before}


def _clear() -> None:
    _run("ipvsadm", "-C")


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout


if __name__ == "__main__":
    main()
