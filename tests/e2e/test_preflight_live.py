"""Preflight while traffic flows: virtual servers that have served for a while get one fault each, and are told of it.

The faults come one after another and stand at the same time. A virtual server beside them, whose packets take none of
their ways, must not notice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from e2e.faults import AFAR, FOUND_WITHIN, GONE_WITHIN, Fault, Identity, clients_afar, told
from e2e.test_machines import Machine
from e2e.world import Cluster, Json, Load, eventually, virtual_server

HEALTHY = "198.18.0.170"
ECHO, WEB = {"port": 7, "name": "echo"}, {"port": 80, "name": "web"}


def over(mode: str, *addresses: str) -> Json:
    return {"forwarding": {"mode": mode}, "realServers": [{"address": one} for one in addresses]}


SERVERS: dict[str, Json] = {
    "healthy": {"addresses": [HEALTHY], "ports": [ECHO, WEB]} | over("NAT", "198.18.1.23"),
    "nat": {"addresses": ["198.18.0.110"], "ports": [ECHO]} | over("NAT", "198.18.1.21", "198.18.1.22"),
    "tunnel": {"addresses": ["198.18.0.120"], "ports": [ECHO]} | over("Tunnel", "198.18.0.31"),
    "direct": {"addresses": ["198.18.0.130"], "ports": [ECHO]} | over("DirectRouting", "198.18.0.32"),
    "machine": {"addresses": ["198.18.0.140"], "ports": [ECHO]} | over("Tunnel", "198.18.0.21"),
}
ADDRESSES = {name: spec["addresses"][0] for name, spec in SERVERS.items()}
DIRECTORS = ("198.18.0.11", "198.18.0.12")
BEFORE = 25.0
"""Seconds of traffic before anything happens: two looks and more."""
BETWEEN = 3.0
"""Seconds between two faults."""
D = "director-1"
FILTERS = "net.ipv4.conf.all.rp_filter={} net.ipv4.conf.eth0.rp_filter={}"
FAULTS = [
    Fault("nat", D, "NoRouteToRealServer", "198.18.1.22", D, "ip route add unreachable 198.18.1.22/32",
          "ip route del unreachable 198.18.1.22/32", ("198.18.1.22", "unreachable", "ip route add")),
    Fault("nat", D, "RepliesBypassDirector", "198.18.1.21", "rs-1", "ip route del default table 100",
          "ip route add default via 198.18.1.1 dev eth1 table 100", ("198.18.1.21", "eth0", "eth1")),
    Fault("tunnel", "node-1", "NoRouteBack", "198.18.0.31", "node-1", f"ip route del {AFAR}",
          f"ip route add {AFAR} via 198.18.0.2", ("198.18.0.31", "203.0.113.1", "default gateway")),
    Fault("tunnel", D, "MtuTooSmall", "198.18.0.31", D, "ip route add 198.18.0.31/32 dev eth0 mtu 1400",
          "ip route del 198.18.0.31/32", ("eth0", "1400 bytes", "1500 = 1480 of a client + 20 of the tunnel")),
    Fault("direct", "node-2", "ReversePathFilter", "198.18.0.32", "node-2",
          f"ip route replace {AFAR} dev mgmt0; sysctl -qw {FILTERS.format(1, 0)}",
          f"ip route replace {AFAR} via 198.18.0.2; sysctl -qw {FILTERS.format(2, 2)}",
          ("eth0", "net.ipv4.conf.all.rp_filter=1", "mgmt0", "net.ipv4.conf.eth0.rp_filter=2")),
    Fault("direct", D, "AddressAnsweredTwice", "", "rs-2", "ip address add 198.18.0.130/32 dev eth0",
          "ip address del 198.18.0.130/32 dev eth0", ("{rs-2}", "ARP", "198.18.0.130")),
    Fault("machine", D, "DecapsulationMissing", "198.18.0.21", "rs-1",
          "for name in $(ls /sys/class/net | grep '^vs-' | grep -v addresses); do ip link set $name down; done",
          "for name in $(ls /sys/class/net | grep '^vs-' | grep -v addresses); do ip link set $name up; done",
          ("198.18.0.21", "IPIP", "198.18.0.140")),
]  # fmt: skip
EXPECTED = {fault.identity for fault in FAULTS} | {("machine", "director-2", "DecapsulationMissing", "198.18.0.21")}
"""The standby looks at what would be in its way, too."""


@contextmanager
def machine_set_up(cluster: Cluster) -> Iterator[None]:
    """The machine outside the cluster takes packets from tunnels, as its owner set it up."""
    machine = Machine(cluster.lab, "rs-1")
    directors = [word for one in DIRECTORS for word in ("--director", one)]
    machine.command("apply", "--address", ADDRESSES["machine"], "--mode", "Tunnel", *directors)
    try:
        yield
    finally:
        machine.command("remove")


@pytest.fixture
def serving(cluster: Cluster) -> Iterator[Cluster]:
    """All of them serve; afterwards nothing of the faults is left."""
    with clients_afar(cluster.lab), machine_set_up(cluster):
        try:
            for name, spec in SERVERS.items():
                cluster.apply(virtual_server(name, **spec))
            for name, spec in SERVERS.items():
                count = len(spec["realServers"])
                cluster.available(name, f"{count}/{count}", seconds=60)
            for name in ("tunnel", "direct"):
                cluster.nodes_ready(name, 1)
            yield cluster
        finally:
            for fault in FAULTS:
                cluster.director(fault.undo, fault.host, check=False)


def inject(cluster: Cluster) -> dict[Identity, float]:
    """Make one fault after another; return after how many seconds each was told, counted from when it was made."""
    made: dict[tuple[str, str], float] = {}
    after: dict[Identity, float] = {}

    def look() -> bool:
        for key in told(cluster, SERVERS):
            after.setdefault(key, time.monotonic() - made.get((key[0], key[2]), began))
        return after.keys() >= EXPECTED

    began = time.monotonic()
    for fault in FAULTS:
        made[fault.server, fault.reason] = time.monotonic()
        cluster.director(fault.do, fault.host)
        while time.monotonic() < made[fault.server, fault.reason] + BETWEEN:
            look()
    eventually(look, FOUND_WITHIN, f"all told; until then {after}")
    return after


def check_words(cluster: Cluster) -> None:
    """Each has its own reason, on its own virtual server, in words that a person can act on."""
    said = told(cluster, SERVERS)
    assert set(said) == EXPECTED
    for fault in FAULTS:
        for word in fault.words:
            wanted = cluster.hardware(word.strip("{}")) if word.startswith("{") else word
            assert wanted in said[fault.identity]
    for name in SERVERS:
        assert cluster.condition("Degraded", name)["status"] == ("False" if name == "healthy" else "True")


def check_traffic(fetching: Load, holding: Load) -> None:
    """Nobody who used the healthy one has noticed anything."""
    fetched, held = fetching.finish(), holding.finish()
    assert fetched["failures"] == []
    assert fetched["answers"]["rs-3"] > 100
    assert held["broken"] == []
    print(f"the healthy one: {fetched['answers']} requests, {held['echoes']} echoes, none lost")


def test_faults_of_virtual_servers_that_serve_are_told_and_gone_when_put_right(serving: Cluster) -> None:
    cluster = serving
    with ExitStack() as clients:
        fetching = clients.enter_context(cluster.load("fetch", 80, address=HEALTHY))
        holding = clients.enter_context(cluster.load("hold", 7, 5, HEALTHY))
        others = [
            clients.enter_context(cluster.load("hold", 7, 2, address))
            for name, address in ADDRESSES.items()
            if name != "healthy"
        ]
        time.sleep(BEFORE)
        assert told(cluster, SERVERS) == {}
        for key, seconds in inject(cluster).items():
            print(f"told after {seconds:4.1f} s: {' '.join(key)}")
        check_words(cluster)
        for fault in FAULTS:
            cluster.director(fault.undo, fault.host)
        began = time.monotonic()
        eventually(lambda: not told(cluster, SERVERS), GONE_WITHIN, f"no finding left of {told(cluster, SERVERS)}")
        print(f"all gone after {time.monotonic() - began:.1f} s")
        check_traffic(fetching, holding)
        assert all(load.finish()["echoes"] > 2 * BEFORE for load in others), "they had traffic, too"
    for name, spec in SERVERS.items():
        count = len(spec["realServers"])
        cluster.available(name, f"{count}/{count}", seconds=60)
    cluster.client(f"ip neigh flush to {ADDRESSES['direct']}")  # a client may remember the other one that answered
    for answer in cluster.probe(4, [("TCP", address, 7) for address in ADDRESSES.values()]):
        assert answer == {"answers": 4, "problem": ""}
