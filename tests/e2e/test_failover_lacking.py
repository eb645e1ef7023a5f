"""A director whose kernel lacks something says what, and yields to one that can serve all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from e2e.pair import NODES, VIPS, Pair, echo, other
from e2e.world import eventually
from virtualserver.agent.lacking import PATIENCE

ODD = "198.18.0.158"
HANDLER = "/proc/sys/kernel/modprobe"


@contextmanager
def no_modules(pair: Pair, director: str, *removed: str) -> Iterator[None]:
    """The director's kernel does not find modules any more, and loses some that it has."""
    kernel = pair.lab.guest_of(director).host()
    handler = kernel.run(f"cat {HANDLER}").out.strip()
    kernel.run("\n".join([*(f"rmmod {name}" for name in removed), f"echo /bin/false >{HANDLER}"]))
    try:
        yield
    finally:
        kernel.run(f"echo {handler} >{HANDLER}")


def test_a_director_without_ipvs_is_not_ready_and_is_not_handed_over_to(pair: Pair) -> None:
    active = pair.active()
    lacking = other(active)
    with pair.watched():
        pair.crash(lacking)
        pair.lab.boot(lacking, product=False)
        loaded = pair.lab.guest_of(lacking).host().run("lsmod").out
        names = [line.split()[0] for line in loaded.splitlines() if line.startswith(("ip_vs_", "xt_ipvs"))]
        with no_modules(pair, lacking, *names, "ip_vs"):
            pair.lab.agents[lacking].start()
            pair.lab.keepalived[lacking].start()
            pair.becomes(lacking, "NotReady")
            said = pair.report(lacking)
            assert (said["reason"], "modprobe ip_vs" in said["message"]) == ("KernelUnreadable", True)
            eventually(lambda: pair.condition("Degraded")["reason"] == "DirectorNotReady", 10, "the group says so, too")
            assert "has no IPVS" in pair.condition("Degraded")["message"]
            with pytest.raises(AssertionError, match="no other director of default is ready"):
                pair.command("failover", "default", "--reason", "test")
        pair.becomes(lacking, "Standby")
    pair.moved(active)


def lblcr() -> dict[str, Any]:
    """A virtual server that needs a module of its own."""
    return echo("odd", [ODD], NODES[:2], forwarding={"mode": "DirectRouting"}, scheduler={"name": "lblcr"})


def test_what_a_director_cannot_program_is_said_and_the_others_go_on(pair: Pair) -> None:
    """One virtual server that a standby's kernel refuses does not keep all others from failing over: who wants that
    gets it."""
    active = pair.active()

    def lacks() -> bool:
        found = [one for one in pair.server("odd").get("conditions") or [] if one["type"] == "Degraded"]
        return any(one["reason"] == "KernelModuleMissing" and other(active) in one["message"] for one in found)

    with no_modules(pair, other(active), "ip_vs_lblcr"):
        pair.lab.kubectl("apply", "-f", "-", input=json.dumps(lblcr()))
        try:
            eventually(lacks, 20, "it is said of the standby")
            eventually(lambda: pair.holds(active, ODD), 20, "the active director serves it")
            eventually(lambda: pair.condition("Degraded")["reason"] == "NotAllServed", 20, "the group says so, too")
            assert "but for 1 virtual server" in pair.report(other(active))["message"]
            with pair.watched(*VIPS, ODD), pair.connections(20) as clients:
                pair.command("failover", "default", "--to", other(active), "--reason", "test")
                lost = clients.use()
                assert not pair.holds(other(active), ODD), "nobody is to be told to come where nothing is served"
        finally:
            pair.lab.kubectl("delete", "vs", "odd")
    pair.moved(active, other(active))
    pair.check(lost)


def test_a_director_that_cannot_serve_all_yields_to_one_that_can(pair: Pair) -> None:
    """Nobody is asked, no connection is lost, and the addresses stay where they go."""
    active = pair.active()
    heir = other(active)
    pair.becomes(heir, "Standby")
    with no_modules(pair, active, "ip_vs_lblcr"):
        pair.lab.kubectl("apply", "-f", "-", input=json.dumps(lblcr()))
        try:
            with pair.watched(), pair.connections(20) as clients:
                eventually(lambda: pair.report(active).get("lacking") == 1, 20, "it says so")
                pair.becomes(heir, "Active", seconds=PATIENCE + 30)
                lost = clients.use()
            last = pair.status()["lastFailover"]
            assert (last["reason"], last["before"]) == ("DirectorYielded", active)
            assert last["message"] == f"{active} cannot serve 1 virtual server of the group"
            eventually(lambda: pair.holds(heir, ODD), 20, "the odd one is served, too")
            pair.becomes(active, "Standby")
            eventually(lambda: pair.report(active).get("lacking") == 1, 40, "who yielded still cannot serve it")
            eventually(lambda: pair.condition("Degraded")["reason"] == "NotAllServed", 20, "the group says so, too")
        finally:
            pair.lab.kubectl("delete", "vs", "odd")
    pair.moved(active, heir)
    pair.check(lost)
