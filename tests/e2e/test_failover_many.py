"""One virtual router carries all addresses of a group: a thousand of them move as one does."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address

from e2e.pair import BEHIND, QUICK, Pair, echo, other
from e2e.world import PROBE, Json, eventually
from failover import history
from failover.quiet import guests_first
from failover.subject import DIRECTORS, ECHO

SERVERS, EACH = 125, 4
"""Virtual servers, and addresses of each in each family: eight is the most that one may have."""
FOUR = [str(ip_address("198.19.0.1") + number) for number in range(SERVERS * EACH)]
SIX = [str(ip_address("fd00:18::a:1") + number) for number in range(SERVERS * EACH)]
ALL = {*FOUR, *SIX}
ROUTE = "198.19.0.0/22 dev eth0"
"""By which the client finds the IPv4 ones on its segment; the IPv6 ones are in its network."""
SAMPLE = [one for family in (FOUR, SIX) for one in (family[0], family[249], family[-1])]
WATCHED = [FOUR[0], FOUR[-1], SIX[0], SIX[-1]]
SLOW = QUICK | {"advertisementInterval": "1000ms"}
"""An emulated director sends an announcement in 0.3 ms and more: while it announces a thousand addresses by both
families it says nothing else, and a standby that waits for 0.3 s would take over from it."""
CLIENTS: Json = {"clientNetworks": ["198.18.0.0/24", "fd00:18::/64"]}
"""Clients are not in the networks of the addresses, so nobody looks for routes to those."""
PROGRAMMED = 150.0
"""Seconds that two emulated directors may take for a thousand services."""
SILENT = 10.0
"""Seconds for which nobody may hold an address that was watched; a crash alone is noticed after 3 to 4."""
DOUBLED = 5.0
"""Seconds in which two may be seen: the former one takes a thousand addresses off."""
MOVED = 40.0
"""Seconds in which all must be at one director, and none at the other; a planned failover also waits until the agents,
which read a thousand services each time, have seen that it was asked for."""


def served(number: int) -> Json:
    """Not checked: 250 checks a second would be most of what an emulated director does."""
    mine = slice(number * EACH, (number + 1) * EACH)
    servers = (BEHIND[0], BEHIND[2])
    return echo(f"many-{number}", [*FOUR[mine], *SIX[mine]], servers, monitors=[], connectionMirroring=True)


def held(pair: Pair, director: str) -> set[str]:
    """The addresses of the thousand that a director's kernel has."""
    lines = pair.lab.host(director).run("ip -o address show dev eth0").out.splitlines()
    return ALL & {line.split()[3].partition("/")[0] for line in lines}


def services(pair: Pair, director: str) -> int:
    shown = pair.lab.host(director).run("ipvsadm -Sn", timeout=60).out.splitlines()
    return sum(line.startswith("-A") for line in shown)


@contextmanager
def thousand(pair: Pair) -> Iterator[None]:
    """They are served meanwhile, by either director."""
    manifest = {"apiVersion": "v1", "kind": "List", "items": [served(number) for number in range(SERVERS)]}
    client, began = pair.lab.host("client"), time.monotonic()
    before = services(pair, DIRECTORS[0])
    try:
        client.run(f"ip route add {ROUTE}")
        pair.change(CLIENTS)
        pair.vrrp(SLOW)
        pair.lab.kubectl("apply", "-f", "-", input=json.dumps(manifest))
        for name in DIRECTORS:
            what = f"{name} has all services"
            eventually(lambda name=name: services(pair, name) >= before + len(ALL), PROGRAMMED, what)  # type: ignore[misc]  # mypy infers no lambda with defaults
        eventually(lambda: held(pair, pair.active()) == ALL, 60, "the active director holds all")
        pair.in_step()
        pair.figure("seconds until all are served", time.monotonic() - began)
        yield
    finally:
        pair.lab.kubectl("delete", "--ignore-not-found", "-f", "-", input=json.dumps(manifest))
        client.run(f"ip route del {ROUTE}", check=False)
        pair.change(dict.fromkeys(CLIENTS))


def all_at(pair: Pair, director: str, since: float, *, alive: Sequence[str] = DIRECTORS) -> None:
    """Wait until one director has all of them and no other one that lives has any, and tell how long that took."""

    def check() -> bool:
        return held(pair, director) == ALL and not any(held(pair, one) for one in alive if one != director)

    eventually(check, MOVED, f"all are at {director}, and only there")
    pair.figure(f"seconds until all addresses were at {director}", time.time() - since)


def answers(pair: Pair) -> list[str]:
    """What is wrong with new connections to some of them."""
    words = [word for one in SAMPLE for word in ("TCP", one, str(ECHO))]
    out = pair.lab.host("client").run([sys.executable, "-S", str(PROBE), "3", *words], timeout=120).out
    found = [json.loads(line) for line in out.splitlines()]
    assert len(found) == len(SAMPLE)
    return [str(one) for one in found if one["answers"] != 3]


def test_a_thousand_addresses_move_in_a_planned_failover_and_in_a_crash(pair: Pair) -> None:
    with thousand(pair):
        first = pair.active()
        second = other(first)
        pair.check(answers(pair))
        with (
            pair.watched(*WATCHED),
            pair.connections(10, "patience=20", vips=WATCHED) as planned,
            pair.connections(10, "patience=20", vips=WATCHED) as crashed,
        ):
            with guests_first(pair.lab):
                asked = time.time()
                pair.command("failover", "default", "--to", second, "--reason", "all of them")
                all_at(pair, second, asked)
                lost = planned.use() + answers(pair)
            pair.in_step()
            with guests_first(pair.lab):
                died = time.time()
                pair.crash(second)
                all_at(pair, first, died, alive=[first])
                lost += crashed.use() + answers(pair)
            time.sleep(1)
        silent = max(pair.history.owners(vip).silent for vip in WATCHED)
        pair.figure("seconds for which an address was at nobody", silent)
        moves = [history.moved(pair.history, vip, first, second, first) for vip in WATCHED]
        one = history.one_owner(pair.history, DOUBLED)
        pair.check(lost, *moves, one, history.silent_at_most(pair.history, SILENT))
