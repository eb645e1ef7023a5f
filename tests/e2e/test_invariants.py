"""What must hold whatever happens to agents, the API server, and the kernel's table."""

from __future__ import annotations

import signal
import time
from functools import partial

import pytest

from e2e.world import MONITOR, REAL_SERVERS, REAL_SERVERS6, VIP, VIP6, Cluster, Json, eventually, virtual_server
from virtualserver.agent.programmer import RULES_SELDOM

ECHO: Json = {"ports": [{"port": 7}]}
NODE = "director-1"


def test_an_agent_that_is_killed_and_starts_again_breaks_nothing_and_writes_nothing(cluster: Cluster) -> None:
    cluster.serve(virtual_server(**ECHO), "3/3")
    agent = cluster.lab.agents[NODE]
    settled(cluster)
    before = cluster.table()
    with cluster.load("hold", 7, 50) as clients:
        agent.stop(signal.SIGKILL)
        assert cluster.table() == before
        mark = agent.log.stat().st_size
        agent.start()
        rounds_after(cluster, mark)
        seen = clients.finish()
    assert seen["broken"] == []
    assert cluster.table() == before
    assert cluster.written(mark) == []


OUTAGE = 120.0
"""Seconds that the API server is away: "minutes", within a time that a test run can bear."""


def test_minutes_without_the_api_server_in_which_real_servers_die_and_return_and_the_agent_restarts(
    cluster: Cluster,
) -> None:
    cluster.serve(virtual_server("echo", 7), "3/3")
    cluster.serve(virtual_server(), "3/3")
    agent = cluster.lab.agents[NODE]
    time.sleep(2)  # the wanted state is stored once a second
    with cluster.load("hold", 7, 30) as clients:
        cluster.lab.api.stop()
        try:
            ends = time.monotonic() + OUTAGE
            die_and_return(cluster, "rs-2")
            agent.stop(signal.SIGKILL)
            agent.start()
            die_and_return(cluster, "rs-1", seconds=40)  # an agent that has just started takes its time
            while time.monotonic() < ends:
                for name in ("rs-1", "rs-2", "rs-3"):
                    die_and_return(cluster, name)
                    assert len(cluster.fetch(6)) == 6
                time.sleep(10)
        finally:
            cluster.lab.api.start()
        cluster.available(ready="3/3", seconds=40)
        seen = clients.finish()
    assert seen["broken"] == [], "the echo service never died"


def die_and_return(cluster: Cluster, name: str, seconds: float = 10) -> None:
    """A real server's web service stops and starts again; the table follows its monitor (500 ms, fall 2, rise 2)."""
    host, row = cluster.lab.host(name), f"198.18.1.{name.replace('rs-', '2')}:80"
    eventually(lambda: row in cluster.table(), 5, f"{name} in")
    host.run("service-ctl stop web")
    eventually(lambda: row not in cluster.table(), seconds, f"dead {name} out, without the API server")
    host.run("service-ctl start web")
    eventually(lambda: row in cluster.table(), seconds, f"{name} back in, without the API server")


WEB, WEB6 = f"-t {VIP}:80", f"-t [{VIP6}]:80"
FIRST = f"{WEB} -r {REAL_SERVERS[0]}:80"
PLAIN = virtual_server()
STICKY = virtual_server(
    addresses=[VIP, VIP6],
    realServers=[{"address": one} for one in (*REAL_SERVERS, *REAL_SERVERS6)],
    scheduler={"name": "mh", "flags": ["mh-port"]},
    persistence={"type": "SourceAddress", "timeout": "90s", "ipv4PrefixLength": 24, "ipv6PrefixLength": 64},
)
TUNNELLED = virtual_server(
    realServers=[{"address": "198.18.0.31"}, {"address": "198.18.0.32"}],
    forwarding={"mode": "Tunnel", "tunnel": {"type": "GUE", "checksum": True}},
)
DATAGRAMS = virtual_server(
    ports=[{"port": 7, "protocol": "UDP"}],
    monitors=[],
    scheduler={"name": "rr", "onePacket": True},
    forwarding={"mode": "DirectRouting"},
    realServers=[{"address": "198.18.0.31"}, {"address": "198.18.0.32"}],
)
MH, MASK = "-s mh -b mh-port", "255.255.255.0"
PLACE = f"{WEB} -r 198.18.0.31:80 -w 1 -i --tun-type"
BY_HAND: dict[str, tuple[Json, str, list[str]]] = {
    "entries, scheduler, weight, method, limits": (
        PLAIN,
        "3/3",
        [
            f"ipvsadm -E {WEB} -s wlc",
            f"ipvsadm -E {WEB} -s rr -p 77",
            f"ipvsadm -E {WEB} {MH}",
            f"ipvsadm -e {FIRST} -m -w 9",
            f"ipvsadm -e {FIRST} -m -w 0",
            f"ipvsadm -e {FIRST} -g -w 1",
            f"ipvsadm -e {FIRST} -i -w 1",
            f"ipvsadm -e {FIRST} -m -w 1 -x 10 -y 5",
            f"ipvsadm -d {FIRST}",
            f"ipvsadm -a {WEB} -r 198.18.1.99:80 -m",
            f"ipvsadm -D {WEB}",
            f"ip address del {VIP}/32 dev eth0",
        ],
    ),
    "persistence, flags, both families": (
        STICKY,
        "6/6",
        [
            f"ipvsadm -E {WEB} {MH} -p 91 -M {MASK}",
            f"ipvsadm -E {WEB} {MH} -p 90 -M 255.255.0.0",
            f"ipvsadm -E {WEB} {MH}",
            f"ipvsadm -E {WEB} -s mh -p 90 -M {MASK}",
            f"ipvsadm -E {WEB} -s mh -b mh-fallback -p 90 -M {MASK}",
            f"ipvsadm -E {WEB} {MH} -p 90 -M {MASK} --pe sip",
            f"ipvsadm -E {WEB6} {MH} -p 91 -M 64",
            f"ipvsadm -E {WEB6} {MH} -p 90 -M 48",
            f"ipvsadm -e {WEB6} -r [{REAL_SERVERS6[0]}]:80 -m -w 3",
            f"ipvsadm -D {WEB6}",
            f"ip address del {VIP6}/128 dev eth0",
        ],
    ),
    "tunnel": (
        TUNNELLED,
        "2/2",
        [
            f"ipvsadm -e {PLACE} gue --tun-port 6081 --tun-csum",
            f"ipvsadm -e {PLACE} gue --tun-port 6080 --tun-nocsum",
            f"ipvsadm -e {PLACE} gue --tun-port 6080 --tun-remcsum",
            f"ipvsadm -e {PLACE} gre --tun-csum",
            f"ipvsadm -e {PLACE} ipip",
        ],
    ),
    "one packet": (DATAGRAMS, "2/2", [f"ipvsadm -E -u {VIP}:7 -s rr"]),
}


@pytest.mark.parametrize("what", BY_HAND)
def test_every_change_by_hand_is_repaired(cluster: Cluster, what: str) -> None:
    manifest, ready, commands = BY_HAND[what]
    cluster.serve(manifest, ready)
    settled(cluster, len(manifest["spec"]["realServers"]) + 1)
    before = whole(cluster)
    for command in commands:
        assert whole(cluster) == before
        mark = cluster.mark()
        cluster.director(command)
        started = time.monotonic()
        eventually(partial(repaired, cluster, mark, before), 10, f"repaired after: {command}")
        print(f"repaired within {time.monotonic() - started:.2f} s: {command}")
    eventually(lambda: "DriftRepaired" in cluster.lab.kubectl("get", "events").stdout, 5, "event")


def test_packet_filter_rules_that_somebody_removed_return(cluster: Cluster) -> None:
    """They are looked at more seldom than the rest: reading them means to run another program."""
    beside = {"mode": "NAT", "nat": {"sourceTranslation": True}}
    cluster.serve(virtual_server(forwarding=beside, realServers=[{"address": "198.18.0.21"}]), "1/1")
    eventually(lambda: rules(cluster), 20, "rules")
    before = sorted(rules(cluster))
    cluster.director("for table in raw mangle nat filter; do iptables-legacy -t $table -F; done")
    assert rules(cluster) != before
    eventually(lambda: sorted(rules(cluster)) == before, RULES_SELDOM + 30, "rules are back")


def test_a_flush_of_the_whole_table_under_load_is_repaired_and_connections_survive(cluster: Cluster) -> None:
    cluster.serve(virtual_server(**ECHO), "3/3")
    settled(cluster)
    before = sorted(cluster.table().splitlines())
    with cluster.load("hold", 7, 50) as clients:
        time.sleep(1)
        for _ in range(3):
            took = cluster.director(
                "ipvsadm -C; s=$(date +%s%N); "
                "for i in $(seq 100); do [ $(wc -l < /proc/net/ip_vs) -ge 7 ] && break; sleep 0.02; done; "
                "echo $(( ($(date +%s%N) - s) / 1000000 ))"
            )
            print(f"repaired after {took} ms")
            assert int(took) < 1000
            time.sleep(1)
        seen = clients.finish()
    assert sorted(cluster.table().splitlines()) == before
    assert seen["broken"] == [], f"{len(seen['broken'])} of 50 connections were lost"


def test_entries_addresses_and_links_of_others_are_never_touched(cluster: Cluster) -> None:
    cluster.director("ipvsadm -A -t 198.18.0.150:80 -s sh && ipvsadm -a -t 198.18.0.150:80 -r 198.18.1.77:80 -m -w 5")
    cluster.director("ip link add other0 type dummy && ip address add 198.18.0.151/24 dev other0")
    try:
        cluster.serve(virtual_server(), "3/3")
        cluster.delete("web")
        eventually(lambda: VIP not in cluster.table(), 15, "ours gone")
        assert "-A -t 198.18.0.150:80 -s sh" in cluster.table()
        assert "198.18.1.77:80 -m -w 5" in cluster.table()
        assert "198.18.0.151/24" in cluster.director("ip -o address show dev other0")
    finally:
        cluster.director("ipvsadm -D -t 198.18.0.150:80; ip link del other0")


def test_a_service_that_somebody_else_made_is_left_alone_and_named(cluster: Cluster) -> None:
    cluster.director(f"ipvsadm -A -t {VIP}:80 -s sh")
    try:
        cluster.apply(virtual_server())
        eventually(lambda: cluster.condition("Programmed").get("reason") == "ForeignService", 5, "ForeignService")
        assert cluster.table() == f"-A -t {VIP}:80 -s sh"
        assert VIP not in cluster.director("ip -o address show dev eth0")
    finally:
        cluster.director(f"ipvsadm -D -t {VIP}:80")
    cluster.available()


@pytest.mark.parametrize("agent_down", [False, True], ids=["agent running", "agent down meanwhile"])
def test_deleting_a_virtual_server_cleans_the_kernel(cluster: Cluster, agent_down: bool) -> None:
    cluster.serve(virtual_server(), "3/3")
    agent = cluster.lab.agents[NODE]
    if agent_down:
        agent.stop(signal.SIGKILL)
    cluster.delete("web")
    if agent_down:
        assert VIP in cluster.table()
        agent.start()
    eventually(lambda: cluster.table() == "", 30, "table empty")
    eventually(lambda: VIP not in cluster.director("ip -o address"), 5, "address gone")
    assert "198.18.1.1/" not in cluster.director("ip -o address")
    eventually(lambda: not rules(cluster), 5, "rules gone")
    assert cluster.director("sysctl -n net.ipv4.vs.sloppy_tcp") == "0"


def rules(cluster: Cluster) -> list[str]:
    """Our packet-filter rules but those on fellow directors, which belong to their group."""
    lines = cluster.director("iptables-legacy-save").splitlines()
    return [line for line in lines if "VIRTUALSERVER" in line and "VIRTUALSERVER-MEMBERS" not in line]


def test_what_vanished_while_nobody_could_watch_leaves_the_kernel_and_nothing_else_does(cluster: Cluster) -> None:
    cluster.serve(virtual_server(), "3/3")
    cluster.serve(virtual_server("echo", 7, addresses=["198.18.0.101"]), "3/3")
    cluster.lab.api.stop()
    try:
        cluster.lab.api.vanish("virtualserver.dev/virtualservers/default/web")
        time.sleep(5)
        assert VIP in cluster.table(), "nothing is forgotten during an outage"
    finally:
        cluster.lab.api.start()
    eventually(lambda: VIP not in cluster.table(), 40, "found to be gone")
    eventually(lambda: VIP not in cluster.director("ip -o address show dev eth0").split(), 5, "address gone")
    assert cluster.table().count("-r ") == 3
    cluster.available("echo", "3/3", seconds=40)


TRACES = (
    "ipvsadm -Sn; ip -o address; ip -o link show group 30323; iptables-legacy-save; "
    "sysctl net.ipv4.vs.sloppy_tcp net.ipv4.ip_forward net.ipv4.conf.eth0.arp_ignore"
)


def test_the_clean_up_command_leaves_a_node_as_it_was_and_the_agent_makes_it_serve_again(cluster: Cluster) -> None:
    nodes = (NODE, "node-1")
    before = {node: without_group(traces(cluster, node)) for node in nodes}
    cluster.serve(TUNNELLED, "2/2")
    cluster.nodes_ready()
    for node in nodes:
        agent = cluster.lab.agents[node]
        agent.stop()
        assert traces(cluster, node) != before[node], "stopping leaves everything"
        command = f"STATE_DIR={agent.state} RUN_DIR={agent.run_dir} python -m virtualserver clean-up"
        assert "removed: " in cluster.director(command, node)
        assert traces(cluster, node) == before[node]
        assert cluster.director(command, node).endswith("nothing of ours is in this node's kernel")
        agent.start()

    def answers() -> bool:
        once = f"curl -s --max-time 2 http://{VIP}/"
        return all(cluster.client(once, check=False) for _ in range(4))

    eventually(answers, 90, "clients are served again, whatever an old status says meanwhile")


def without_group(lines: list[str]) -> list[str]:
    """Without what a director holds for its group alone: its token, and the rules on its fellow directors."""
    return [line for line in lines if "127.118.115." not in line and "VIRTUALSERVER-MEMBERS" not in line]


def traces(cluster: Cluster, node: str) -> list[str]:
    """All that we make on a node; without numbers of links, and links that the kernel adds with its tunnel modules."""
    looked = [line for line in cluster.director(TRACES, node).splitlines() if line[0] not in "#*:"]
    return sorted(line.partition(": ")[2] if line[0].isdigit() else line for line in looked if line != "COMMIT")


def test_a_steady_state_writes_nothing_anywhere(cluster: Cluster) -> None:
    cluster.serve(virtual_server(monitors=[MONITOR]), "3/3")
    settled(cluster)
    mark = cluster.mark()
    before = cluster.get()["metadata"]["resourceVersion"]
    time.sleep(10)
    assert cluster.get()["metadata"]["resourceVersion"] == before
    assert cluster.written(mark) == []


def test_a_node_that_is_no_director_any_more_gives_its_addresses_away(cluster: Cluster) -> None:
    cluster.serve(virtual_server(), "3/3")
    label = "virtualserver.dev/director"
    cluster.lab.kubectl("label", "node", NODE, f"{label}-")
    try:
        eventually(lambda: cluster.active() == "director-2", 20, "moved")
        eventually(lambda: VIP in cluster.director("ip -o address", "director-2"), 10, "address moved")
        eventually(lambda: cluster.table() == "", 20, "former director clean")
        cluster.available(ready="3/3")
        assert len(cluster.fetch(3)) == 3
    finally:
        cluster.lab.kubectl("label", "node", NODE, f"{label}=true", "--overwrite")
    eventually(lambda: cluster.active() == NODE, 30, "the lab's group prefers it, and lets it take over again")


def test_the_report_of_an_agent_that_does_not_answer_is_unknown(cluster: Cluster) -> None:
    cluster.serve(virtual_server(), "3/3")
    agent = cluster.lab.agents[NODE]
    agent.stop(signal.SIGKILL)
    try:
        eventually(lambda: cluster.condition("Available").get("status") == "Unknown", 30, "Unknown")
        assert cluster.condition("Programmed")["reason"] == "DirectorUnreachable"
        assert len(cluster.fetch(3)) == 3, "traffic goes on without the agent"
    finally:
        agent.start()
    cluster.available(ready="3/3", seconds=40)


def settled(cluster: Cluster, lines: int = 4) -> None:
    """Wait until the short time is over in which settings still follow the last change."""
    time.sleep(2)
    eventually(lambda: len(cluster.table().splitlines()) >= lines, 5, "table complete")


Whole = tuple[list[str], list[str]]


def whole(cluster: Cluster) -> Whole:
    """The table, and the virtual addresses that are held."""
    looked = cluster.director("ipvsadm -Sn; ip -o address show dev eth0")
    table = sorted(line for line in looked.splitlines() if line.startswith("-"))
    return table, [one for one in (f"{VIP}/32", f"{VIP6}/128") if one in looked.split()]


def repaired(cluster: Cluster, mark: int, before: Whole) -> bool:
    """All is as before, and it was the agent: a command that changed nothing would be repaired at once."""
    return bool(cluster.written(mark)) and whole(cluster) == before


def rounds_after(cluster: Cluster, mark: int) -> None:
    log = cluster.lab.agents[NODE].log
    eventually(lambda: "synchronised" in log.read_text()[mark:], 40, "agent is back")
    time.sleep(2)
