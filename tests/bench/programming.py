"""(a) and (b): programming from empty against `ipvsadm -R`, and a resync that finds nothing to do."""

import json
import statistics
import sys
from typing import Any

from bench import emulated
from bench.figures import Figure
from lab.lab import Lab

SERVICES = 100
INSIDE = [sys.executable, "-m", "bench.inside"]
PATIENCE = 540


def in_distribution_kernel(servers: int = 100, rounds: int = 4) -> list[Figure]:
    out = emulated.run([*INSIDE, str(SERVICES), str(servers), str(rounds)])
    return _figures(_answer(out), servers, rounds, "distribution kernel, QEMU without KVM", DISTRIBUTION)


def in_guest(lab: Lab, servers: int, rounds: int = 2) -> list[Figure]:
    """In a network namespace of its own, so that the directors' tables are left alone."""
    lab.guest.run("ip netns add bench && ip -n bench link set lo up")  # without a route nothing is unicast
    try:
        command = ["ip", "netns", "exec", "bench", *INSIDE, str(SERVICES), str(servers), str(rounds)]
        env = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
        out = lab.guest.run(command, timeout=PATIENCE, env=env).out
    finally:
        lab.guest.run("ip netns del bench", check=False)
    return _figures(_answer(out), servers, rounds, "User-Mode Linux", GUEST)


DISTRIBUTION = (
    "the kernel's own work for each real server and CPU emulation; ours saves ipvsadm's system calls and"
    " acknowledgements for each real server"
)
GUEST = "every system call of a User-Mode Linux guest is dear, so the many of ipvsadm weigh more than on a real machine"


def _answer(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(line for line in reversed(out.splitlines()) if line.startswith("{")))
    return found


def _figures(found: dict[str, Any], servers: int, rounds: int, kernel: str, limit: str) -> list[Figure]:
    total = SERVICES * servers
    rate = {name: total / statistics.median(taken) for name, taken in found["seconds"].items()}
    spread = ", ".join(
        f"{name} " + " ".join(f"{one:.2f}" for one in found["seconds"][name]) for name in ("ours", "peer")
    )
    what = f"{total:,} real servers over {SERVICES} virtual services from empty"
    cold, warm = found["resync"][0], min(found["resync"][1:], key=lambda one: one["cpu"])
    programming = (
        f"median of {rounds} rounds, seconds each: {spread}; planning included {rate['ours_with_diff']:,.0f}/s; {limit}"
    )
    resync = (
        f"of it {warm['read_cpu']:.3f} s read, the rest compare; first read {cold['cpu']:.3f} s, then entries with the"
        f" same bytes are not decoded again; limited by the kernel's dump, one exchange for each virtual service"
    )
    writes = max(one["writes"] for one in found["resync"])
    return [
        Figure(f"program {what} ({kernel})", rate["ours"], "real servers/s", programming, rate["peer"], "ipvsadm -R"),
        Figure(f"no-op resync of {total:,}: netlink writes ({kernel})", writes, "writes", "the diff is empty"),
        Figure(f"no-op resync of {total:,}: CPU of read and diff ({kernel})", warm["cpu"], "s", resync),
    ]
