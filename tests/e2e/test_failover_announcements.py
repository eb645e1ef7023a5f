"""Neighbours are told who has the addresses now: at once, and again later, for those that missed it."""

from __future__ import annotations

import time

from e2e.pair import VIPS, Pair, other
from e2e.world import eventually
from failover import running
from failover.history import HARDWARE
from lab import network

REFRESH = 10.0
"""Seconds between two announcements while nothing happens."""
SECOND = 0.8, 2.5
"""Seconds after the first ones in which the second ones come: they are due after one."""
PAST = 4.5
"""Seconds after which only the refresh is still to come: the first and the second ones are past, and those that
keepalived makes when it is told of a higher priority, some 2.5 s after it has taken over."""
BUSY = 3.0
"""Seconds that a busy machine may be late."""


def hardware(director: str) -> str:
    """Its hardware address on the clients' segment."""
    prefix = network.CLIENT.hardware(0).rpartition(":")[0]
    return next(mac for mac, name in HARDWARE.items() if name == director and mac.startswith(prefix))


def neighbour(pair: Pair, vip: str) -> str:
    """What the client believes of an address."""
    return pair.lab.host("client").run(f"ip neigh show {vip} dev eth0").out.strip()


def test_a_client_that_believes_in_the_dead_director_is_put_right_by_a_later_announcement(pair: Pair) -> None:
    active = pair.active()
    dead, alive = hardware(active), hardware(other(active))
    poison = "; ".join(f"ip neigh replace {vip} lladdr {dead} dev eth0 nud reachable" for vip in VIPS)
    with running.watched(pair.lab, *VIPS, every=0) as heard:
        pair.crash(active)
        pair.becomes(other(active), "Active")
        time.sleep(PAST)
        pair.lab.host("client").run(f"set -e; {poison}")
        poisoned = time.time()
        assert all(dead in neighbour(pair, vip) for vip in VIPS)
        for vip in VIPS:
            eventually(lambda vip=vip: alive in neighbour(pair, vip), REFRESH + BUSY, f"{vip} is put right")  # type: ignore[misc]  # mypy infers no lambda with defaults
        pair.figure("seconds for which the client believed in the dead one", time.time() - poisoned)
    pair.history.seen += heard.seen
    for vip in VIPS:
        told = [one for one in heard.seen if one.address == vip and one.kind == "announcement"]
        times = [one.time - told[0].time for one in told if one.owner == other(active)]
        pair.note("announced", vip=vip, times=times)
        print(vip, "announced after", ", ".join(f"{one:.2f}" for one in times))
        assert any(SECOND[0] <= one <= SECOND[1] for one in times), f"{vip} is announced again a second later"
        assert any(one >= REFRESH - BUSY for one in times), f"{vip} is announced again, much later"
        assert {one.owner for one in told} == {other(active)}
