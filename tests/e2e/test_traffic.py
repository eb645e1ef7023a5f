"""What clients see of a virtual server."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial

import pytest

from e2e.world import MONITOR, REAL_SERVERS, REAL_SERVERS6, VIP, VIP6, Cluster, eventually, virtual_server
from virtualserver.model.schedulers import SCHEDULERS


def test_requests_are_spread_and_real_servers_see_the_client(cluster: Cluster) -> None:
    addresses = [{"address": address} for address in (*REAL_SERVERS, *REAL_SERVERS6)]
    cluster.serve(virtual_server(addresses=[VIP, VIP6], realServers=addresses), "6/6")
    for address, client in ((VIP, "198.18.0.2"), (VIP6, "fd00:18::2")):
        answers = Counter(cluster.fetch(9, address))
        assert answers == {f"rs-{number} {client}": 3 for number in (1, 2, 3)}


def test_with_source_translation_servers_on_the_clients_subnet_serve_too(cluster: Cluster) -> None:
    servers = [{"address": f"198.18.0.{number}"} for number in (21, 22, 23)]
    forwarding = {"mode": "NAT", "nat": {"sourceTranslation": True}}
    cluster.serve(virtual_server(realServers=servers, forwarding=forwarding), "3/3")
    answers = cluster.fetch(6)
    assert {line.split()[0] for line in answers} == {"rs-1", "rs-2", "rs-3"}
    assert {line.split()[1] for line in answers} <= {"198.18.0.11", "198.18.0.12"}


def test_a_target_port_is_where_real_servers_are_asked(cluster: Cluster) -> None:
    cluster.serve(virtual_server(ports=[{"port": 8000, "targetPort": 8080}]), "3/3")
    assert len(cluster.fetch(3, port=8000)) == 3


def _in_table(cluster: Cluster, line: str) -> bool:
    return line in cluster.table().splitlines()


def test_every_scheduler_and_its_flags_reach_the_kernel(cluster: Cluster) -> None:
    cluster.serve(virtual_server())
    for name, flags in SCHEDULERS.items():
        for chosen in ([], list(flags)) if flags else ([],):
            cluster.patch("web", {"scheduler": {"name": name, "flags": chosen}})
            wanted = f"-A -t {VIP}:80 -s {name}" + (f" -b {','.join(chosen)}" if chosen else "")
            eventually(partial(_in_table, cluster, wanted), 5, wanted)


def test_persistence_keeps_a_client_at_its_real_server_until_it_is_set_to_none(cluster: Cluster) -> None:
    persistence = {"type": "SourceAddress", "timeout": "90s", "ipv4PrefixLength": 24, "ipv6PrefixLength": 64}
    servers = [{"address": address} for address in (*REAL_SERVERS, *REAL_SERVERS6)]
    cluster.serve(virtual_server(addresses=[VIP, VIP6], realServers=servers, persistence=persistence))
    assert f"-A -t {VIP}:80 -s rr -p 90 -M 255.255.255.0" in cluster.table()
    assert f"-A -t [{VIP6}]:80 -s rr -p 90 -M 64" in cluster.table()
    assert len(set(cluster.fetch(6))) == 1
    nothing = {"type": "None", "timeout": None, "ipv4PrefixLength": None, "ipv6PrefixLength": None}
    cluster.patch("web", {"persistence": nothing})
    eventually(lambda: "-p 90" not in cluster.table(), 5, "no persistence")


def test_weights_and_admin_states_reach_the_kernel(cluster: Cluster) -> None:
    servers = [
        {"address": REAL_SERVERS[0], "weight": 7},
        {"address": REAL_SERVERS[1], "adminState": "Draining"},
        {"address": REAL_SERVERS[2], "adminState": "Offline"},
    ]
    cluster.serve(virtual_server(realServers=servers), "1/3")
    table = cluster.table()
    assert f"-r {REAL_SERVERS[0]}:80 -m -w 7" in table
    eventually(lambda: f"-r {REAL_SERVERS[1]}:80 -m -w 0" in cluster.table(), 5, "drained")
    assert REAL_SERVERS[2] not in table
    assert cluster.real_server(REAL_SERVERS[1])["state"] == "Draining"
    assert cluster.real_server(REAL_SERVERS[2])["reason"] == "AdminOffline"


def test_without_any_real_server_up_connections_are_refused_at_once(cluster: Cluster) -> None:
    cluster.apply(virtual_server(ports=[{"port": 80, "targetPort": 9}]))
    eventually(lambda: cluster.condition("Available").get("reason") == "NoRealServerUp", 10, "NoRealServerUp")
    eventually(lambda: VIP in cluster.director("ip -o address show dev eth0"), 5, "announced")
    said = cluster.lab.host("client").run(f"curl -sS --max-time 5 http://{VIP}/", check=False)
    assert said.code == 7, f"refused is curl's code 7, a time-out 28: {said.err}"
    assert cluster.status()["readyRealServers"] == "0/3"


def endpoint_slice(*endpoints: tuple[str, bool, bool]) -> dict[str, object]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "app-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "app"}},
        "addressType": "IPv4",
        "ports": [{"name": "echo", "port": 7, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": ready, "serving": True, "terminating": terminating}}
            for address, ready, terminating in endpoints
        ],
    }


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "app", "namespace": "default"},
    "spec": {"ports": [{"name": "echo", "port": 7, "protocol": "TCP"}]},
}


def test_endpoints_of_a_service_come_and_go_while_connections_run(cluster: Cluster) -> None:
    one, two, three = REAL_SERVERS
    cluster.apply(SERVICE)
    cluster.apply(endpoint_slice((one, True, False), (two, True, False)))
    manifest = virtual_server(ports=[{"port": 7}], realServers=[{"service": {"name": "app"}}])
    cluster.serve(manifest, "2/2")
    assert cluster.real_server(one)["source"] == "Service/app"
    with cluster.load("hold", 7, 20) as clients:
        cluster.apply(endpoint_slice((one, False, True), (two, True, False), (three, True, False)))
        eventually(lambda: f"-r {one}:7 -m -w 0" in cluster.table(), 5, "terminating endpoint drained")
        eventually(lambda: f"-r {three}:7 -m -w 1" in cluster.table(), 5, "new endpoint in")
        eventually(lambda: cluster.real_server(one)["state"] == "Draining", 5, "and the status says so")
        seen = clients.finish()
    assert seen["broken"] == []
    cluster.apply(endpoint_slice((two, True, False), (three, True, False)))
    eventually(lambda: one not in cluster.table(), 5, "gone endpoint out")


def test_kubectl_shows_what_matters(cluster: Cluster) -> None:
    cluster.serve(virtual_server(), "3/3")
    lines = cluster.lab.kubectl("get", "vs", "web").stdout.splitlines()
    assert lines[0].split()[:3] == ["NAME", "ADDRESS", "MODE"]
    for word in ("web", VIP, "NAT", "3/3", "director-1", "True"):
        assert word in lines[1]
    entry = next(one for one in cluster.status()["directors"] if one["role"] == "Active")
    assert entry["announced"] == [VIP]
    assert entry["services"][0]["scheduler"] == "rr"
    assert [one["address"] for one in entry["services"][0]["realServers"]] == list(REAL_SERVERS)
    explained = cluster.lab.kubectl("explain", "vs.spec.monitors.onDown").stdout
    assert "Quiesce" in explained


@pytest.mark.parametrize("on_down", ["Remove", "Quiesce"])
def test_a_dead_real_server_gets_nothing_after_the_verdict_and_comes_back(cluster: Cluster, on_down: str) -> None:
    cluster.serve(virtual_server(monitors=[MONITOR | {"onDown": on_down}]), "3/3")
    with cluster.load("fetch", 80) as clients:
        cluster.lab.host("rs-2").run("service-ctl stop web")
        down = eventually(
            lambda: (one := cluster.real_server(REAL_SERVERS[1])) and one["state"] == "Down" and one, 5, "down"
        )
        assert down["reason"] == "ConnectionRefused"
        verdict = float(cluster.client("date +%s.%N"))
        assert cluster.status()["readyRealServers"] == "2/3"
        row = f"-r {REAL_SERVERS[1]}:80 -m -w 0"
        assert (row in cluster.table()) is (on_down == "Quiesce")
        cluster.fetch(6)
        cluster.lab.host("rs-2").run("service-ctl start web")
        cluster.available(ready="3/3")
        seen = clients.finish()
    late = [failure for failure in seen["failures"] if failure[0] > verdict]
    assert late == [], f"requests failed after the verdict: {late}"
    assert set(seen["answers"]) == {"rs-1", "rs-2", "rs-3"}
    events = json.loads(cluster.lab.kubectl("get", "events", "-o", "json").stdout)["items"]
    notes = [one.get("message", one.get("note", "")) for one in events]
    assert any(f"{REAL_SERVERS[1]}:80 is down: ConnectionRefused" in note for note in notes)
