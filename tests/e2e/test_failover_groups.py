"""Several groups on the same directors: each has an active one of its own, and a crash moves only what it held."""

from __future__ import annotations

import time

from e2e.pair import DIRECT, NODES, VIPS, Pair, echo
from e2e.world import Json
from failover import history

SPREAD, SPREAD6 = "198.18.0.155", "fd00:18::155"


def group(name: str, router: int) -> Json:
    """Without preferred nodes: the groups share the directors by themselves."""
    spec = {
        "nodeSelector": {"virtualserver.dev/director": "true"},
        "interface": "eth0",
        "vrrp": {"routerId": router, "advertisementInterval": "300ms"},
    }
    return {
        "apiVersion": "virtualserver.dev/v1alpha1",
        "kind": "DirectorGroup",
        "metadata": {"name": name},
        "spec": spec,
    }


def bring(pair: Pair, group: str, director: str) -> None:
    """Which director is ready first when a group is made depends on how busy they are."""
    if pair.status(group)["activeDirector"] != director:
        pair.command("failover", group, "--to", director, "--reason", "the groups are to be at different directors")
        pair.in_step(group)


def test_groups_have_different_active_directors_and_a_crash_moves_only_those_of_one(pair: Pair) -> None:
    bring(pair, "default", "director-1")
    spread = echo("spread", [SPREAD, SPREAD6], NODES, forwarding={"mode": "DirectRouting"}, directorGroup="spread")
    with pair.applied(group("spread", 52), spread):
        pair.in_step("spread")
        one, two = (pair.report(name, "spread")["priority"] for name in ("director-1", "director-2"))
        assert two > one, "the groups share the load by themselves"
        bring(pair, "spread", "director-2")
        assert (pair.active(DIRECT), pair.active(SPREAD)) == ("director-1", "director-2")
        everywhere = (*VIPS, SPREAD, SPREAD6)
        with pair.watched(*everywhere), pair.connections(20, vips=everywhere) as clients:
            time.sleep(1)
            pair.crash("director-2")
            lost = clients.use()
            pair.becomes("director-1", "Active", "spread")
            assert (pair.active(DIRECT), pair.active(SPREAD)) == ("director-1", "director-1")
            pair.lab.boot("director-2")
            pair.becomes("director-2", "Standby", seconds=90)
            pair.becomes("director-2", "Standby", "spread")
        own = [history.moved(pair.history, vip, "director-1") for vip in VIPS]
        others = [history.moved(pair.history, vip, "director-2", "director-1") for vip in (SPREAD, SPREAD6)]
        pair.check(lost, history.one_owner(pair.history, 0.5), *own, *others)
        assert pair.status("spread")["lastFailover"]["reason"] == "DirectorLost"
