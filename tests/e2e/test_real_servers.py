"""Tunnel and Direct Routing at the real server's end: pods that see the client, ARP, changes while traffic runs."""

from __future__ import annotations

import re
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial

import pytest

from e2e.world import MONITOR, REAL_SERVERS, VIP, VIP6, Cluster, Json, eventually, virtual_server

OTHER = "198.18.0.111"
NODES = [{"address": "198.18.0.31"}, {"address": "198.18.0.32"}]
NODES6 = [{"address": "fd00:18::31"}, {"address": "fd00:18::32"}]
PODS = {"pod-1a": "10.244.31.11", "pod-1b": "10.244.31.12", "pod-2a": "10.244.32.11"}
DIRECT: Json = {"mode": "DirectRouting"}
TUNNEL: Json = {"mode": "Tunnel"}
GUE: Json = {"mode": "Tunnel", "tunnel": {"type": "GUE"}}
TRANSLATED: Json = {"mode": "NAT", "nat": {"sourceTranslation": True}}
SERVICE: Json = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "app", "namespace": "default"},
    "spec": {"ports": [{"name": "web", "port": 80, "targetPort": 8080}]},
}


def endpoints(*ready: str) -> Json:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "app-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "app"}},
        "addressType": "IPv4",
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [address], "nodeName": f"node-{name[4]}", "conditions": {"ready": name in ready}}
            for name, address in PODS.items()
        ],
    }


@pytest.mark.parametrize("forwarding", [DIRECT, TUNNEL], ids=["DirectRouting", "Tunnel"])
def test_pods_see_the_client_and_nodes_weigh_what_their_ready_pods_do(cluster: Cluster, forwarding: Json) -> None:
    cluster.apply(SERVICE)
    cluster.apply(endpoints(*PODS))
    cluster.serve(virtual_server(forwarding=forwarding, realServers=[{"service": {"name": "app"}}]), "3/3")
    cluster.nodes_ready()
    answers = Counter(cluster.fetch(12))
    assert answers.keys() == {f"{pod} 198.18.0.2" for pod in PODS}
    way = "-g" if forwarding is DIRECT else "-i"
    eventually(lambda: f"-r 198.18.0.31:80 {way} -w 2" in cluster.table(), 5, "node-1 counts twice")
    cluster.apply(endpoints("pod-1a", "pod-2a"))
    eventually(lambda: f"-r 198.18.0.31:80 {way} -w 1" in cluster.table(), 5, "one pod less")
    cluster.apply(endpoints("pod-1a"))
    eventually(lambda: "198.18.0.32" not in cluster.table(), 5, "a node without ready pods gets nothing")
    assert set(cluster.fetch(4)) == {"pod-1a 198.18.0.2"}


def test_a_pod_that_its_monitor_calls_down_gets_nothing_from_its_node_either(cluster: Cluster) -> None:
    cluster.apply(SERVICE)
    cluster.apply(endpoints(*PODS))
    cluster.serve(virtual_server(forwarding=TUNNEL, realServers=[{"service": {"name": "app"}}]), "3/3")
    cluster.lab.host("pod-1b").run("service-ctl stop web-alt")
    try:
        eventually(lambda: PODS["pod-1b"] not in cluster.table("node-1"), 5, "out at its node")
        eventually(lambda: "-r 198.18.0.31:80 -i -w 1" in cluster.table(), 5, "and its node weighs less")
        assert {line.split()[0] for line in cluster.fetch(8)} == {"pod-1a", "pod-2a"}
    finally:
        cluster.lab.host("pod-1b").run("service-ctl start web-alt")


@pytest.mark.parametrize("address", [VIP, VIP6], ids=["ARP", "NDP"])
def test_one_hardware_address_answers_for_the_virtual_address_from_first_to_last(
    cluster: Cluster, address: str
) -> None:
    servers = NODES if address == VIP else NODES6
    with cluster.claims(address) as seen:
        manifest = virtual_server(addresses=[address], forwarding=DIRECT, realServers=servers)
        cluster.serve(manifest, "2/2")
        cluster.nodes_ready()
        cluster.patch("web", {"forwarding": {"mode": "Tunnel"}})
        cluster.nodes_ready()
        cluster.patch("web", {"forwarding": {"mode": "DirectRouting"}})
        cluster.nodes_ready()
        cluster.delete("web")
        eventually(lambda: "vs-addresses" not in cluster.director("ip link", "node-1"), 10, "taken down")
        time.sleep(1)
        claimed = seen.finish()
    assert list(claimed) == [cluster.hardware(cluster.active())]


def test_the_mode_of_a_live_virtual_server_is_changed_without_losing_a_connection(cluster: Cluster) -> None:
    cluster.serve(virtual_server(ports=[{"port": 7}], forwarding=TRANSLATED, realServers=NODES), "2/2")
    with cluster.load("hold", 7, 20) as clients:
        for forwarding, way in ((DIRECT, "-g"), (TUNNEL, "-i"), (TRANSLATED, "-m"), (TUNNEL, "-i"), (DIRECT, "-g")):
            cluster.patch("web", {"forwarding": {"nat": None} | forwarding})
            # Direct Routing after another mode gets an entry of its own, with port 0 (plan/succession.py).
            port = 0 if way == "-g" else 7
            wanted = [f"-r {one['address']}:{port} {way} -w 1" for one in NODES]
            eventually(partial(_holds, cluster, wanted), 5, f"new connections by {forwarding['mode']}")
            cluster.nodes_ready(count=0 if way == "-m" else 2)
            said = cluster.probe(6, [("TCP", VIP, 7)])
            assert said == [{"answers": 6, "problem": ""}], forwarding
            time.sleep(1)
        seen = clients.finish()
    assert seen["broken"] == []
    eventually(lambda: _links(cluster) == ["vs-addresses"], CONNECTIONS_END, "no tunnel is left")


CONNECTIONS_END = 60.0
"""Seconds. An old half goes 15 s after the last connection of it; the processor is shared."""
PODS_SERVE: list[Json] = [{"service": {"name": "app"}}]


Change = tuple[Json, list[Json]]
"""How a virtual server forwards at first, and to whom."""
TO_NAT: list[Change] = [(DIRECT, NODES), (GUE, NODES), (TUNNEL, PODS_SERVE), (DIRECT, PODS_SERVE)]


@pytest.mark.parametrize(
    ("changes", "after"),
    [(TO_NAT, TRANSLATED), ([(TUNNEL, NODES)], DIRECT), ([(TRANSLATED, PODS_SERVE)], TUNNEL)],
    ids=["Direct, GUE, pods Tunnel, pods Direct to NAT", "Tunnel to Direct", "pods NAT to Tunnel"],
)
def test_connections_outlive_the_mode_in_which_they_began_and_then_nothing_of_it_is_left(
    cluster: Cluster, changes: list[Change], after: Json
) -> None:
    cluster.apply(SERVICE | {"spec": {"ports": [{"name": "web", "port": 7}]}})
    cluster.apply(endpoints(*PODS) | {"ports": [{"name": "web", "port": 7, "protocol": "TCP"}]})
    before_all = _traces(cluster)
    named = {f"vs-{number}": f"198.18.0.{number}" for number in range(100, 100 + len(changes))}
    for (name, address), (before, servers) in zip(named.items(), changes, strict=True):
        count = len(NODES if servers is NODES else PODS)
        spec: Json = {"addresses": [address], "ports": [{"port": 7}], "forwarding": before, "realServers": servers}
        cluster.serve(virtual_server(name, **spec), f"{count}/{count}")
        cluster.nodes_ready(name, _nodes(before))
    with ExitStack() as stack:
        clients = [stack.enter_context(cluster.load("hold", 7, 10, address)) for address in named.values()]
        for name in named:
            cluster.patch(name, {"forwarding": {"nat": None, "tunnel": None} | after})
        for name, address in named.items():
            eventually(partial(_forwards, cluster, address, after), 10, f"new connections to {address} go the new way")
            cluster.nodes_ready(name, _nodes(after))
        said = cluster.probe(4, [("TCP", address, 7) for address in named.values()])
        assert said == [{"answers": 4, "problem": ""}] * len(changes)
        time.sleep(35)  # longer than a client's patience, and than what stays without a connection
        assert [one.finish()["broken"] for one in clients] == [[]] * len(changes)
    for address, (before, _) in zip(named.values(), changes, strict=True):
        old = partial(_forwards, cluster, address, before)
        eventually(lambda: not old(), CONNECTIONS_END, f"no old entry of {address}")  # noqa: B023 - called at once
    if after["mode"] == "NAT":
        eventually(lambda: _traces(cluster) == before_all, CONNECTIONS_END, f"as before: {before_all}")
    elif after["mode"] == "DirectRouting":
        eventually(lambda: _links(cluster) == ["vs-addresses"], CONNECTIONS_END, "no tunnel is left")


def _forwards(cluster: Cluster, address: str, forwarding: Json) -> bool:
    """There are entries of this address for that way."""
    way = {"NAT": "-m", "Tunnel": "-i", "DirectRouting": "-g"}[forwarding["mode"]]
    rows = [line for line in cluster.table().splitlines() if f" {address}:" in line]
    return any(f" {way} -w" in line for line in rows)


def _nodes(forwarding: Json) -> int:
    return 0 if forwarding["mode"] == "NAT" else 2


def _links(cluster: Cluster) -> list[str]:
    lines = cluster.director("ip -o link show group 30323", "node-1").splitlines()
    return [line.split(":")[1].strip() for line in lines]


def _traces(cluster: Cluster) -> str:
    show = "ip -o link show group 30323; ip fou show; ipvsadm -Sn; sysctl net.ipv4.conf.eth0.arp_ignore"
    return cluster.director(f"{show}; iptables-legacy-save -t mangle | grep VIRTUALSERVER", "node-1", check=False)


def test_a_udp_flow_goes_on_when_the_mode_is_changed_and_leaves_the_old_one(cluster: Cluster) -> None:
    datagrams = [{"port": 7, "protocol": "UDP"}]
    cluster.serve(virtual_server(ports=datagrams, monitors=[], forwarding=TUNNEL, realServers=NODES), "2/2")
    cluster.nodes_ready()
    with cluster.load("flow", 7) as clients:
        for forwarding, way in ((TRANSLATED, "-m"), (TUNNEL, "-i"), (DIRECT, "-g")):
            cluster.patch("web", {"forwarding": {"nat": None} | forwarding})
            eventually(partial(_only, cluster, way), 10, f"{forwarding['mode']} and nothing else")
            cluster.nodes_ready(count=_nodes(forwarding))
            time.sleep(20)
        seen = clients.finish()
    assert seen["longest"] < 3, seen


def _only(cluster: Cluster, way: str) -> bool:
    rows = [line for line in cluster.table().splitlines() if line.startswith("-a")]
    return len(rows) == len(NODES) and all(f" {way} -w 1" in row for row in rows)


def _holds(cluster: Cluster, lines: list[str]) -> bool:
    table = cluster.table()
    return all(line in table for line in lines)


def test_two_virtual_servers_in_different_modes_leave_each_other_alone(cluster: Cluster) -> None:
    before = cluster.director("sysctl net.ipv4.conf.eth0.arp_ignore; ip -o link | wc -l", "node-1")
    cluster.serve(virtual_server(forwarding=DIRECT, realServers=NODES), "2/2")
    cluster.serve(virtual_server("other", addresses=[OTHER], forwarding=TUNNEL, realServers=NODES), "2/2")
    cluster.nodes_ready("web")
    cluster.nodes_ready("other")
    with cluster.load("fetch", 80, address=OTHER) as clients:
        cluster.delete("web")
        eventually(lambda: VIP not in cluster.director("ip address", "node-1"), 10, "the first is gone")
        cluster.lab.agents["node-1"].stop()
        log = cluster.lab.agents["node-1"].log
        done = log.read_text().count("synchronised with")
        cluster.lab.agents["node-1"].start()
        eventually(lambda: log.read_text().count("synchronised with") > done, 30, "the agent is back")
        time.sleep(1)
        assert "arp_ignore = 1" in cluster.director("sysctl net.ipv4.conf.eth0.arp_ignore", "node-1")
        seen = clients.finish()
    assert seen["failures"] == []
    cluster.delete("other")
    eventually(
        lambda: cluster.director("sysctl net.ipv4.conf.eth0.arp_ignore; ip -o link | wc -l", "node-1") == before,
        10,
        "as before",
    )


@pytest.mark.parametrize("forwarding", [DIRECT, TUNNEL], ids=["DirectRouting", "Tunnel"])
def test_what_another_program_breaks_on_a_node_is_repaired(cluster: Cluster, forwarding: Json) -> None:
    cluster.serve(virtual_server(forwarding=forwarding, realServers=NODES), "2/2")
    cluster.nodes_ready()
    show = "ip -o address show group 30323; sysctl net.ipv4.conf.eth0.arp_ignore; iptables-legacy-save -t mangle"
    before = _without_counters(cluster.director(show, "node-1"))
    for command in (
        f"ip address del {VIP}/32 dev vs-addresses",
        "ip link set vs-addresses down",
        "ip link del vs-addresses",
        "sysctl -w net.ipv4.conf.eth0.arp_ignore=0",
    ):
        cluster.director(command, "node-1")
        eventually(
            lambda: _without_counters(cluster.director(show, "node-1")) == before, 8, f"repaired after: {command}"
        )
    assert len(cluster.fetch(4)) == 4


def _without_counters(text: str) -> list[str]:
    """Link numbers and packet counts change with every repair."""
    lines = [line.partition(": ")[2] if line[:1].isdigit() else line for line in text.splitlines()]
    return sorted(line.partition(" [")[0] for line in lines if not line.startswith("#"))


BEHIND: list[Json] = [{"address": one} for one in REAL_SERVERS]
BESIDE: list[Json] = [{"address": f"198.18.0.{number}"} for number in (21, 22, 23)]


@pytest.mark.parametrize(
    ("forwarding", "servers"),
    [({"mode": "NAT"}, BEHIND), (TRANSLATED, BESIDE), (DIRECT, NODES), (TUNNEL, NODES)],
    ids=["NAT", "NAT with source translation", "DirectRouting", "Tunnel"],
)
def test_a_udp_flow_leaves_a_dead_real_server_within_the_time_of_its_detection_and_a_second(
    cluster: Cluster, forwarding: Json, servers: list[Json]
) -> None:
    monitors, ports = [MONITOR | {"tcp": {"port": 7}}], [{"port": 7, "protocol": "UDP"}]
    manifest = virtual_server(ports=ports, monitors=monitors, forwarding=forwarding, realServers=servers)
    cluster.serve(manifest, f"{len(servers)}/{len(servers)}")
    cluster.nodes_ready(count=_nodes(forwarding))
    with cluster.load("flow", 7) as clients:
        time.sleep(1)
        client = re.findall(r"198\.18\.0\.2:\d+", cluster.lab.host("client").run(f"ss -Hun dst {VIP}").out)
        entries = [line for line in _entries(cluster) if line.startswith("UDP") and client[0] in line]
        serving = [one["address"] for one in servers if any(one["address"] in line for line in entries)]
        assert len(serving) == 1, "one flow, one real server"
        number = int(serving[0].split(".")[-1])
        host = cluster.lab.host(f"rs-{number - 20}" if number < 30 else f"node-{number - 30}")
        host.run("service-ctl hang echo")
        eventually(lambda: serving[0] not in cluster.table(), 5, "out")
        time.sleep(3)
        host.run("service-ctl start echo")
        seen = clients.finish()
    # Two failures in a row at an interval of 500 ms, the second found 400 ms after it began.
    assert 0.3 < seen["longest"] < 0.5 * 2 + 0.4 + 1, seen


def test_an_idle_udp_flow_is_forgotten_by_nobody_before_the_table_forgets_it(cluster: Cluster) -> None:
    tracked = "sysctl -n net.netfilter.nf_conntrack_udp_timeout_stream"
    datagrams = [{"port": 7, "protocol": "UDP"}]
    manifest = virtual_server(ports=datagrams, monitors=[], forwarding=TRANSLATED, realServers=BESIDE)
    cluster.serve(manifest, "3/3")
    assert cluster.probe(1, [("UDP", VIP, 7)]) == [{"answers": 1, "problem": ""}]
    ours = int(cluster.director("ipvsadm -L --timeout").split()[-1])
    eventually(lambda: int(cluster.director(tracked)) >= ours, 5, f"conntrack waits {ours} s")
    cluster.delete("web")
    eventually(lambda: cluster.director(tracked) == "120", 10, "as before")


def _entries(cluster: Cluster) -> list[str]:
    return cluster.director("ipvsadm -Lnc").splitlines()


def test_one_packet_scheduling_spreads_the_datagrams_of_one_client(cluster: Cluster) -> None:
    scheduler = {"name": "rr", "onePacket": True}
    datagrams = [{"port": 7, "protocol": "UDP"}]
    manifest = virtual_server(ports=datagrams, monitors=[], scheduler=scheduler, forwarding=DIRECT, realServers=NODES)
    cluster.serve(manifest, "2/2")
    cluster.nodes_ready()
    with cluster.load("flow", 7) as clients:
        time.sleep(3)
        seen = clients.finish()
    assert seen["answers"] > 10
    rows = [line.split() for line in cluster.director("ipvsadm -Ln --stats").splitlines()]
    counts = [int(row[2]) for row in rows if row[0] == "->" and len(row) > 3]
    assert min(counts) > 3, counts


def test_a_real_server_may_be_a_client_of_its_own_virtual_server(cluster: Cluster) -> None:
    """Ports are rewritten on the way, too."""
    ports = [{"port": 8000, "targetPort": 80}, {"port": 8007, "targetPort": 7, "name": "echo"}]
    ports.append({"port": 8007, "targetPort": 7, "protocol": "UDP", "name": "datagrams"})
    servers = [*BESIDE, *({"address": f"fd00:18::{number}"} for number in (21, 22, 23))]
    manifest = virtual_server(addresses=[VIP, VIP6], ports=ports, forwarding=TRANSLATED, realServers=servers)
    cluster.serve(manifest | {"spec": manifest["spec"] | {"monitors": [MONITOR | {"tcp": {"port": 7}}]}}, "6/6")
    for address in (VIP, f"[{VIP6}]"):
        loop = f"for i in 1 2 3 4 5 6; do curl -sS --max-time 5 http://{address}:8000/ || exit 1; done"
        answers = cluster.lab.host("rs-1").run(loop).out.splitlines()
        assert {line.split()[0] for line in answers} == {"rs-1", "rs-2", "rs-3"}
    targets = [(kind, address, 8007) for kind in ("TCP", "UDP") for address in (VIP, VIP6)]
    assert cluster.probe(6, targets, host="rs-1") == [{"answers": 6, "problem": ""}] * 4
