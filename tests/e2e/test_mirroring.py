"""A director that returns has the active one's connections before it may take over, also those that are idle."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from e2e.world import VIP, Cluster, Json, eventually, virtual_server

ACTIVE, STANDBY = "director-1", "director-2"
ECHO: Json = {"ports": [{"port": 7}], "connectionMirroring": True}
COUNT = 200
IDLE = 30
"""Seconds."""

TABLE = "tail -n +2 /proc/net/ip_vs_conn_sync"
UNTIL = 'until [ "$(cat {folder}/eligible/default)" = {word} ]; do sleep 0.02; done'
FORGET = """
ipvsadm --stop-daemon backup
sysctl -q -w net.ipv4.vs.expire_nodest_conn=1
ipvsadm -C
until [ -z "$(tail -n +2 /proc/net/ip_vs_conn_sync)" ]; do sleep 0.1; done
"""


def connections(table: str) -> set[str]:
    """The words of each line that are the same on every director."""
    return {line.rsplit(None, 3)[0] for line in table.splitlines()}


def mirror(cluster: Cluster) -> Json:
    """What the standby says of its mirror; empty while it is none."""
    status = cluster.lab.api.request("GET", "/apis/virtualserver.dev/v1alpha1/directorgroups/default")["status"]
    found: Json = next((one for one in status.get("directors", []) if one["node"] == STANDBY), {})
    return dict(found.get("mirror") or {}) if found.get("role") == "Standby" else {}


def served(cluster: Cluster) -> None:
    """The directors may only just have started, and the other one have been ready first."""
    cluster.apply(virtual_server(**ECHO))
    cluster.available(ready="3/3", seconds=60)
    if cluster.active() != ACTIVE:
        cluster.lab.keepalived[STANDBY].stop()
        eventually(lambda: cluster.active() == ACTIVE, 20, f"{ACTIVE} active")
        cluster.lab.keepalived[STANDBY].start()


def in_step(cluster: Cluster) -> None:
    eventually(lambda: mirror(cluster).get("state") == "InStep", 40, "in step")


@contextmanager
def handed_over(cluster: Cluster) -> Iterator[None]:
    """The standby is active meanwhile."""
    for first, second in ((ACTIVE, STANDBY), (STANDBY, ACTIVE)):
        cluster.lab.keepalived[first].stop()
        try:
            eventually(lambda: cluster.active() == second, 20, f"{second} active")  # noqa: B023 - called at once
            if second == STANDBY:
                yield
        finally:
            cluster.lab.keepalived[first].start()
        cluster.available(ready="3/3")


def test_a_director_that_returns_gets_idle_connections_before_it_may_take_over(cluster: Cluster) -> None:
    served(cluster)
    assert cluster.active() == ACTIVE
    with cluster.load("idle", 7, COUNT) as clients:
        agent, keepalived = cluster.lab.agents[STANDBY], cluster.lab.keepalived[STANDBY]
        agent.stop(signal.SIGKILL)
        keepalived.stop()
        cluster.director(FORGET, STANDBY)
        expires = f"{TABLE} | grep ESTABLISHED | awk '$10 > 900 - {IDLE}'"
        eventually(lambda: not cluster.director(expires), IDLE + 10, "connections are idle")

        keepalived.start()
        cluster.director(UNTIL.format(folder=keepalived.run_dir, word=1), STANDBY)
        agent.start()
        allowed = UNTIL.format(folder=keepalived.run_dir, word=0)
        held = connections(cluster.lab.host(STANDBY).run(f"{allowed}; {TABLE}", timeout=60).out)
        assert held >= connections(cluster.director(f"{TABLE} | grep ESTABLISHED"))
        assert len(held) >= COUNT
        in_step(cluster)
        assert mirror(cluster)["share"] == "100%"
        with handed_over(cluster):
            seen = clients.finish()
    assert seen == {"connections": COUNT, "broken": []}


def test_what_a_standby_lacks_it_gets_and_a_restart_of_its_agent_changes_nothing(cluster: Cluster) -> None:
    served(cluster)
    assert cluster.active() == ACTIVE
    barrier = "INPUT -p udp --dport 8848 -s 198.18.0.11 -j DROP"
    cluster.director(f"iptables-legacy -I {barrier}", STANDBY)
    try:
        with cluster.load("idle", 7, COUNT):
            eventually(lambda: mirror(cluster).get("state") == "Behind", 30, "behind")
            established = f"{TABLE} | grep ESTABLISHED"
            wanted = connections(cluster.director(established))
            eventually(lambda: connections(cluster.director(TABLE, STANDBY)) >= wanted, 60, "connections are got")
            in_step(cluster)
            agent = cluster.lab.agents[STANDBY]
            agent.stop(signal.SIGKILL)
            mark = cluster.mark(STANDBY)
            agent.start()
            in_step(cluster)
            assert cluster.written(mark, STANDBY) == []
    finally:
        cluster.director(f"iptables-legacy -D {barrier}", STANDBY)


def test_connections_are_told_to_directors_only_and_figures_to_all(cluster: Cluster) -> None:
    served(cluster)
    with cluster.load("idle", 7, 3):
        url = "http://198.18.0.11:9440/connections?group=default"
        assert cluster.client(f"curl -s -o /dev/null -w '%{{http_code}}' '{url}'") == "403"
        told = cluster.director(f"curl -s '{url}&first=2'", STANDBY)
        assert len(connections(told)) == 2
        figures = cluster.client("curl -s http://198.18.0.11:9440/metrics")
        assert f'virtualserver_connections{{service="TCP {VIP}:7",state="active"}} 3' in figures
        assert 'virtualserver_group_role{group="default",role="Active"} 1' in figures
