"""A director that was active before returns; what it remembers, and what strangers say, must not count."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Any

import pytest

from e2e.pair import BEHIND, NAT, NODES, Clients, Pair, echo, other
from e2e.world import eventually
from failover import forge, history, nemesis, running
from failover.subject import DIRECTORS, ECHO, connections
from virtualserver.kernel import syncwire
from virtualserver.model.connections import ESTABLISHED, Connection
from virtualserver.model.types import Protocol
from virtualserver.plan.directors import HIGHEST_PRIORITY

AGAIN = "198.18.0.157"
MIRRORED_DIRECT: dict[str, Any] = {"forwarding": {"mode": "DirectRouting"}, "connectionMirroring": True}
CLAIMED = 6.0
"""Seconds after which who took over claims more: one, the time to notice a crash, and until the status says so."""
HEALED = 2.0
"""Seconds in which one that goes on has let go: advertisements are 0.3 s apart."""


def test_clients_that_use_their_ports_again_are_not_sent_where_a_former_term_sent_them(pair: Pair) -> None:
    """Own, lose, change the real servers, own again: entries of the first term would override hash and mirror."""
    first = pair.active()
    second = other(first)
    ports = "ports=20000"
    before = echo("again", [AGAIN], NODES[:1], forwarding={"mode": "DirectRouting"}, connectionMirroring=True)
    after = echo("again", [AGAIN], NODES[1:2], forwarding={"mode": "DirectRouting"}, connectionMirroring=True)
    with pair.applied(before), pair.watched(AGAIN):
        with pair.connections(100, ports, vips=[AGAIN]) as clients:
            _hand_over(pair, second)
            kept = _of_its_own(pair, first)
            lost = clients.use()
        pair.lab.kubectl("apply", "-f", "-", input=json.dumps(after))
        pair.ready_with("again", 1)
        with pair.connections(100, ports, vips=[AGAIN]) as clients:
            _hand_over(pair, first)
            lost += clients.use()
    pair.check(lost, kept)


@pytest.mark.parametrize("rests", [False, True], ids=["at-once", "although-held-down"])
def test_a_director_that_was_paused_gives_way_to_the_one_that_took_over(pair: Pair, rests: bool) -> None:
    """As a virtual machine that is stopped for a while, and goes on as if nothing had been: it believes to be active
    and knows nothing of what began meanwhile. With `rr` nothing but the table of the other one does."""
    active = pair.active()
    heir = other(active)
    if rests:
        pair.hold_down(heir)
    spread = echo("again", [AGAIN], NODES[:2], scheduler={"name": "rr"}, **MIRRORED_DIRECT)
    with pair.applied(spread), pair.watched(AGAIN), ExitStack() as stack:
        before = stack.enter_context(pair.connections(40, vips=[AGAIN]))
        with nemesis.frozen(pair.lab, active) as at:
            pair.note("paused", director=active, at=at)
            pair.becomes(heir, "Active")
            pair.states("taken over", heir)
            meanwhile = stack.enter_context(running.held(pair.lab, AGAIN, 40))
            time.sleep(CLAIMED)
            own, others = (pair.report(name)["priority"] for name in (heir, active))
            assert own > others, "it claims more than the other one"
        pair.note("goes on", director=active)
        pair.becomes(active, "Standby", seconds=60)
        lost = before.use() + Clients({AGAIN: meanwhile}, pair.note).use()
        eventually(lambda: pair.report(heir)["priority"] <= HIGHEST_PRIORITY, 20, "it claims as much as ever again")
        pair.states("the paused one is a standby")
    pair.check(lost, history.one_owner(pair.history, HEALED))
    assert pair.history.owners(AGAIN).last == heir
    assert pair.status()["lastFailover"]["node"] == heir


def _of_its_own(pair: Pair, director: str) -> list[str]:
    """Connections that a director has from a term of its own, rather than from the active one."""
    shown = pair.lab.host(director).run("cat /proc/net/ip_vs_conn_sync").out.splitlines()
    return [line for line in shown if "C612009D" in line and "LOCAL" in line]


def _hand_over(pair: Pair, to: str) -> None:
    pair.command("failover", "default", "--to", to, "--reason", "test")
    pair.in_step()
    pair.states(f"handed over to {to}")


def test_what_a_stranger_says_of_connections_is_not_believed(pair: Pair) -> None:
    """Mirrored connections are taken from the other directors; theirs is the control."""
    active, server = pair.active(), ip_address(BEHIND[0])

    def forged(port: int) -> str:
        client = ip_address("198.18.0.99")
        one = Connection(Protocol.TCP, client, port, ip_address(NAT), ECHO, server, ECHO, ESTABLISHED, 60)
        (message,) = syncwire.messages([one], 51)
        return message.hex()

    def known(port: int) -> list[str]:
        text = f"{port:04X} C6120097"
        return [name for name in DIRECTORS if any(text in line for line in connections(pair.lab, name))]

    def send(host: str, port: int) -> None:
        command = [sys.executable, "-S", forge.__file__, "eth0", "224.0.0.81", "8848", forged(port), "3", "100"]
        pair.lab.host(host).run(command)

    send("rs-3", 4001)
    send(active, 4002)
    eventually(lambda: other(active) in known(4002), 5, "what a director says is taken by the other")
    assert known(4001) == []
