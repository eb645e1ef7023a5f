"""NAT with source translation: a connection's source is the director's own address, so no other can go on with it."""

from __future__ import annotations

import json
import time

from e2e.pair import BEHIND, NAT, NAT6, Pair, echo, other
from failover import history, nemesis
from failover.running import running
from failover.subject import DIRECTORS, ECHO

HIDDEN = "198.18.0.156"
FORWARDING = {"mode": "NAT", "nat": {"sourceTranslation": True}}


def test_translated_connections_end_at_a_failover_and_new_ones_work_at_once(pair: Pair) -> None:
    with pair.applied(echo("hidden", [HIDDEN], BEHIND[:2], forwarding=FORWARDING)):
        active = pair.active(HIDDEN)
        with (
            pair.watched(HIDDEN),
            pair.connections(40, vips=[HIDDEN]) as clients,
            running(pair.lab, "clients.py", "connects", HIDDEN, ECHO, "every=50") as new,
        ):
            time.sleep(1)
            with nemesis.cut(pair.lab, active):
                pair.note("cables are pulled", director=active)
                clients.use()
                opened = new.stop("connects")
        used = next(event for event in pair.history.events if event["what"] == "connections used")["results"][HIDDEN]
        pair.note("new connections", **opened)
        print(f"of 40 connections: {used['echo']} went on, {used['reset']} were reset, {used['silence']} got no answer")
        pair.figure("seconds that a new connection waited at most", opened["wait"])
        assert used["echo"] == 0, "if they went on, the documentation says too little"
        assert opened["refused"] == 0
        assert opened["wait"] < 4, "the first packet is repeated after 1 s, and again after 2 s"
        assert pair.active(HIDDEN) == other(active)


def test_other_connections_go_on_through_a_crash_where_nodes_track_them(pair: Pair) -> None:
    """kube-proxy makes them, and drops what it knows nothing of: so would the heir, of connections that it never saw
    begin, unless it learns them from any packet of either side."""
    active = pair.active(NAT)
    with nemesis.beside_kube_proxy(pair.lab, *DIRECTORS):
        with pair.watched(NAT, NAT6), pair.connections(40, vips=[NAT, NAT6]) as clients:
            time.sleep(1)
            pair.crash(active)
            pair.becomes(other(active), "Active")
            lost = clients.use()
            pair.states("after the crash")
        tracked = pair.lab.host(other(active)).run("grep -c ESTABLISHED /proc/net/nf_conntrack", check=False).out
        pair.note("tracked by the heir", count=tracked.strip())
        pair.lab.boot(active)
        pair.becomes(active, "Standby", seconds=90)
    pair.check(lost, *(history.moved(pair.history, vip, active, other(active)) for vip in (NAT, NAT6)))


def test_mirroring_such_connections_is_refused_with_the_reason(pair: Pair) -> None:
    manifest = echo("hidden", [HIDDEN], BEHIND[:2], forwarding=FORWARDING, connectionMirroring=True)
    done = pair.lab.kubectl("apply", "-f", "-", input=json.dumps(manifest), check=False)
    assert done.returncode != 0
    assert "must not be set with forwarding.nat.sourceTranslation" in done.stderr
