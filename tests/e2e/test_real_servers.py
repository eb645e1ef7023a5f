"""Tunnel and Direct Routing at the real server's end: ARP, repair, virtual servers beside each other; UDP flows."""

from __future__ import annotations

import re
import time
from functools import partial

import pytest

from e2e.matrix import COUNT, WELL
from e2e.pods import ECHO, PODS, SERVICE, endpoints
from e2e.ways import DIRECT, GRE, GUE, NODES, NODES6, TRANSLATED, TUNNEL, nodes_of, traces
from e2e.world import MONITOR, REAL_SERVERS, VIP, VIP6, Cluster, Json, eventually, virtual_server


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


PODS_ECHO: list[Json] = [{"service": {"name": "app", "port": ECHO}}]
PAIRS: dict[str, tuple[Json, list[Json], Json]] = {
    "DirectRouting and Tunnel": (DIRECT, NODES, TUNNEL),
    "DirectRouting and GRE": (DIRECT, NODES, GRE),
    "GUE and IPIP": (GUE, NODES, TUNNEL),
    "DirectRouting to pods and Tunnel": (DIRECT, PODS_ECHO, TUNNEL),
}
"""The first's way and real servers, and the way of the second, whose real servers are the nodes."""


@pytest.mark.parametrize("modes", PAIRS)
def test_two_virtual_servers_in_different_modes_leave_each_other_alone(cluster: Cluster, modes: str) -> None:
    forwarding, servers, other = PAIRS[modes]
    number = 110 + 2 * list(PAIRS).index(modes)  # addresses that no pair before had: its connections are forgotten late
    before = traces(cluster)
    if servers is PODS_ECHO:
        cluster.apply(SERVICE)
        cluster.apply(endpoints(*PODS[4]))
    count = "3/3" if servers is PODS_ECHO else "2/2"
    echo: Json = {"addresses": [f"198.18.0.{number}"], "ports": [{"port": 7}]}
    first = virtual_server(forwarding=forwarding, realServers=servers, **echo)
    echo = echo | {"addresses": [f"198.18.0.{number + 1}"]}
    second = virtual_server("other", forwarding=other, realServers=NODES, **echo)
    cluster.serve(second, "2/2")
    cluster.nodes_ready("other")
    alone = traces(cluster)
    for gone, kept in ((first, second), (second, first)):
        cluster.serve(first, count)
        cluster.nodes_ready()
        address, left = kept["spec"]["addresses"][0], gone["spec"]["addresses"][0]
        with cluster.load("hold", 7, 5, address) as clients, cluster.claims(address, 200) as asked:
            cluster.delete(gone["metadata"]["name"])
            eventually(partial(_is_gone, cluster, left), 10, f"{left} is gone")
            _start_again(cluster, "node-1")
            if kept is second:
                eventually(lambda: traces(cluster) == alone, 5, f"as when it was alone: {alone}")
            assert "arp_ignore = 1" in cluster.director("sysctl net.ipv4.conf.eth0.arp_ignore", "node-1")
            assert cluster.probe(COUNT, [("TCP", address, 7)]) == [WELL]
            seen, claimed = clients.finish(), asked.finish()
        assert seen["broken"] == []
        assert list(claimed) == [cluster.hardware(cluster.active())]
    cluster.delete("web")
    eventually(lambda: traces(cluster) == before, 10, f"as before: {before}")


def _is_gone(cluster: Cluster, address: str) -> bool:
    return address not in cluster.director("ip address; ipvsadm -Sn", "node-1")


def _start_again(cluster: Cluster, node: str) -> None:
    """What the agent must keep it finds in its record and in the kernel."""
    agent = cluster.lab.agents[node]
    agent.stop()
    done = agent.log.read_text().count("synchronised with")
    agent.start()
    eventually(lambda: agent.log.read_text().count("synchronised with") > done, 60, "the agent is back")
    time.sleep(1)


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
    cluster.nodes_ready(count=nodes_of(forwarding))
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
