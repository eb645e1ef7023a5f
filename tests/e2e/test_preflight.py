"""What is wrong on the way of packets is said in words, and no more when it is put right: every fault is a real one.

All faults stand at the same time, on different hosts and virtual servers: so each must be told apart from the others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from e2e.faults import AFAR, FOUND_WITHIN, GONE_WITHIN, Fault, Identity, clients_afar, told
from e2e.world import VIP, Cluster, Json, eventually, virtual_server
from lab.lab import Lab

NODES = ("198.18.0.31", "198.18.0.32")
BEHIND = ("198.18.1.21", "198.18.1.22", "198.18.1.23")
DOUBLE, DOUBLE6 = "198.18.0.180", "fd00:18::180"
TRANSLATED = {"mode": "NAT", "nat": {"sourceTranslation": True}}
QUIET = 25.0
SERVE_ARP = "sysctl -qw net.ipv4.conf.eth0.arp_ignore=1 net.ipv4.conf.eth0.arp_announce=2"


NOBODY_ASKS: Json = {"monitors": []}
SERVERS: dict[str, Json] = {
    "nat": {"addresses": [VIP], "realServers": [{"address": one} for one in BEHIND]},
    "double": {
        "addresses": [DOUBLE, DOUBLE6],
        "forwarding": TRANSLATED,
        "realServers": [{"address": "198.18.0.23"}, {"address": "fd00:18::23"}],
    },
    "near": {"addresses": ["198.18.0.110"], "realServers": [{"address": "198.18.0.22"}]},
    "tunnel": {"addresses": ["198.18.0.120"], "forwarding": {"mode": "Tunnel"}},
    "direct": {"addresses": ["198.18.0.130"], "forwarding": {"mode": "DirectRouting"}},
    "machine": {
        "addresses": ["198.18.0.140"],
        "forwarding": {"mode": "Tunnel"},
        "realServers": [{"address": "198.18.0.21"}],
    },
    "strict": {
        "addresses": ["198.18.0.150"],
        "forwarding": {"mode": "Tunnel"},
        "realServers": [{"address": "198.18.0.22"}],
    },
    "beside": {
        "addresses": ["198.18.0.160"],
        "forwarding": {"mode": "DirectRouting"},
        "realServers": [{"address": "198.18.0.21"}],
    },
    "module": {
        "addresses": ["198.18.0.170"],
        "forwarding": TRANSLATED,
        "realServers": [{"address": "198.18.0.23"}],
        "scheduler": {"name": "sed"},
    },
}
HIDE = "; ".join(
    (
        "modprobe -a ipip ip6_tunnel sit dummy ip_vs_rr",
        "modprobe -r ip_vs_sed",
        "cat /proc/sys/kernel/modprobe >/tmp/modprobe-was",
        "echo /bin/false >/proc/sys/kernel/modprobe",
    )
)
D = "director-1"
FAULTS = [
    Fault("nat", D, "NoRouteToRealServer", "198.18.1.22", D, "ip route add unreachable 198.18.1.22/32",
          "ip route del unreachable 198.18.1.22/32", ("198.18.1.22", "unreachable", "ip route add")),
    Fault("nat", D, "NoRouteBack", "198.18.1.23", "rs-3", "ip route add unreachable 198.18.0.0/24 table 100",
          "ip route del unreachable 198.18.0.0/24 table 100", ("198.18.1.23", VIP, "gateway must be 198.18.1.1")),
    Fault("nat", D, "RepliesBypassDirector", "198.18.1.21", "rs-1", "ip route del default table 100",
          "ip route add default via 198.18.1.1 dev eth1 table 100", ("198.18.1.21", "eth0", "eth1")),
    Fault("double", D, "AddressAnsweredTwice", "", "rs-3", f"ip address add {DOUBLE}/32 dev eth0",
          f"ip address del {DOUBLE}/32 dev eth0", ("{rs-3}", "ARP", DOUBLE)),
    Fault("double", D, "AddressAnsweredTwice", "", "rs-2", f"ip address add {DOUBLE6}/128 dev eth0 nodad",
          f"ip address del {DOUBLE6}/128 dev eth0", ("{rs-2}", "neighbour discovery", DOUBLE6)),
    Fault("near", D, "RepliesBypassDirector", "198.18.0.22", "guest", "true",
          "kubectl-patch near", ("198.18.0.22", "198.18.0.0/24", "sourceTranslation")),
    Fault("tunnel", "node-1", "NoRouteBack", "198.18.0.31", "node-1", f"ip route del {AFAR}",
          f"ip route add {AFAR} via 198.18.0.2", ("198.18.0.31", "203.0.113.1", "default gateway")),
    Fault("direct", "node-1", "NoRouteBack", "198.18.0.31", "node-1", "true", "true", ("198.18.0.31", "203.0.113.1")),
    Fault("tunnel", D, "MtuTooSmall", "198.18.0.32", D, "ip route add 198.18.0.32/32 dev eth0 mtu 1400",
          "ip route del 198.18.0.32/32", ("eth0", "1400 bytes", "1500 = 1480 of a client + 20 of the tunnel")),
    Fault("direct", D, "MtuTooSmall", "198.18.0.32", D, "true", "true", ("1400 bytes", "1500, the MTU of eth0")),
    Fault("tunnel", D, "TunnelSourceUnknown", "198.18.0.31", D,
          "ip address add 198.18.0.19/32 dev eth0 && ip route add 198.18.0.31/32 dev eth0 src 198.18.0.19",
          "ip route del 198.18.0.31/32; ip address del 198.18.0.19/32 dev eth0", ("198.18.0.19", "tunnelSources")),
    Fault("direct", "director-2", "NotOnLink", "198.18.0.32", "director-2",
          "ip route add 198.18.0.32/32 via 198.18.0.2", "ip route del 198.18.0.32/32", ("198.18.0.2", "Tunnel")),
    Fault("direct", "node-2", "ReversePathFilter", "198.18.0.32", "node-2",
          f"ip route replace {AFAR} dev mgmt0; sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=0",
          f"ip route replace {AFAR} via 198.18.0.2; "
          "sysctl -qw net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.eth0.rp_filter=2",
          ("eth0", "net.ipv4.conf.all.rp_filter=1", "mgmt0", "net.ipv4.conf.eth0.rp_filter=2")),
    Fault("nat", "director-2", "LinkDown", "", "guest", "ip link set s-director-2 down",
          "ip link set s-director-2 up", ("eth1", "other end")),
    Fault("near", "director-2", "LinkDown", "", "guest", "true", "true", ("eth1",)),
    Fault("machine", D, "DecapsulationMissing", "198.18.0.21", "rs-1", "true",
          f"{SERVE_ARP}; ip link set tunl0 up; ip address add 198.18.0.140/32 dev tunl0",
          ("198.18.0.21", "refuses IPIP", "198.18.0.140"),
          "ip address del 198.18.0.140/32 dev tunl0; ip link set tunl0 down"),
    Fault("strict", D, "DecapsulationMissing", "198.18.0.22", "rs-2",
          f"{SERVE_ARP}; ip link set tunl0 up; ip address add 198.18.0.150/32 dev tunl0; "
          "sysctl -qw net.ipv4.conf.tunl0.rp_filter=1",
          "sysctl -qw net.ipv4.conf.tunl0.rp_filter=0", ("198.18.0.22", "answers a ping", "rp_filter"),
          "ip address del 198.18.0.150/32 dev tunl0; ip link set tunl0 down"),
    Fault("beside", D, "AddressNotHeld", "198.18.0.21", "rs-1", "true",
          f"{SERVE_ARP}; ip address add 198.18.0.160/32 dev lo", ("198.18.0.21", "198.18.0.160", "arp_ignore=1"),
          "ip address del 198.18.0.160/32 dev lo"),
    Fault("module", D, "KernelModuleMissing", "", "guest", HIDE,
          "cat /tmp/modprobe-was >/proc/sys/kernel/modprobe", ("ip_vs_sed", "modprobe ip_vs_sed")),
]  # fmt: skip
ON_STANDBY = {("machine", "DecapsulationMissing"), ("strict", "DecapsulationMissing"), ("beside", "AddressNotHeld"),
              ("near", "RepliesBypassDirector"), ("module", "KernelModuleMissing")}  # fmt: skip
"""What the other director sees as well, before it has to take over."""


def run(cluster: Cluster, host: str, command: str, *, check: bool = True) -> None:
    if command == "kubectl-patch near":
        cluster.patch("near", {"forwarding": {"mode": "NAT", "nat": {"sourceTranslation": True}}})
        return
    (cluster.lab.guest if host == "guest" else cluster.lab.host(host)).run(command, check=check)


@pytest.fixture(scope="module")
def injected(lab: Lab) -> Iterator[tuple[Cluster, dict[Identity, float]]]:
    """The faults, all of them standing, and after how many seconds each was told."""
    cluster = Cluster(lab)
    with clients_afar(lab):
        try:
            for fault in FAULTS:
                run(cluster, fault.host, fault.do)
            began = time.monotonic()
            for name, spec in SERVERS.items():
                servers: Json = {"realServers": [{"address": one} for one in NODES]} if "forwarding" in spec else {}
                cluster.apply(virtual_server(name, **(NOBODY_ASKS | servers | spec)))
            yield cluster, seconds_until_told(cluster, began)
        finally:
            for fault in FAULTS:
                for command in (fault.undo, fault.cleanup):
                    if not command.startswith("kubectl"):
                        run(cluster, fault.host, command, check=False)
            cluster.tidy()


def seconds_until_told(cluster: Cluster, began: float) -> dict[Identity, float]:
    after: dict[Identity, float] = {}
    while time.monotonic() < began + FOUND_WITHIN and len(after) < len({fault.identity for fault in FAULTS}):
        for key in told(cluster, SERVERS):
            after.setdefault(key, time.monotonic() - began)
        time.sleep(0.5)
    for key, seconds in sorted(after.items(), key=lambda one: one[1]):
        print(f"told after {seconds:4.1f} s: {' '.join(key)}")
    return after


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: "-".join(fault.identity[:3]))
def test_a_fault_is_told_with_its_own_reason_in_words_that_help(
    injected: tuple[Cluster, dict[Identity, float]], fault: Fault
) -> None:
    cluster, after = injected
    assert after.get(fault.identity, FOUND_WITHIN) < FOUND_WITHIN, told(cluster, SERVERS)
    message = told(cluster, SERVERS)[fault.identity]
    for word in fault.words:
        if word.startswith("{"):
            word = cluster.lab.host(word.strip("{}")).run("cat /sys/class/net/eth0/address").out.strip()
        assert word in message
    condition = cluster.condition("Degraded", fault.server)
    assert condition["status"] == "True"
    assert fault.node in condition["message"]
    assert message.split(": ")[0] in condition["message"]


def test_nothing_else_is_told_and_what_lasts_is_told_once(
    injected: tuple[Cluster, dict[Identity, float]],
) -> None:
    cluster, _ = injected
    expected = {fault.identity for fault in FAULTS}
    expected |= {(s, "director-2", r, a) for s, _, r, a in expected if (s, r) in ON_STANDBY}
    assert set(told(cluster, SERVERS)) == expected
    since, before = cluster.lab.api.audit_mark(), told(cluster, SERVERS)
    time.sleep(QUIET)
    writes = [one for one in cluster.lab.api.audit(since) if "virtualservers" in str(one.get("requestURI"))]
    assert [one["requestURI"] for one in writes if one["verb"] in ("patch", "update", "create")] == []
    assert told(cluster, SERVERS) == before
    events = cluster.lab.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}").stdout.split()
    assert {fault.reason for fault in FAULTS} <= set(events)
    wide = cluster.lab.kubectl("get", "vs", "near", "-o", "wide").stdout
    assert "LinkDown" in wide  # the first
    assert "sourceTranslation" in wide  # and the words of all


def test_what_is_put_right_is_told_no_more(injected: tuple[Cluster, dict[Identity, float]]) -> None:
    cluster, _ = injected
    for fault in FAULTS:
        run(cluster, fault.host, fault.undo)
    began = time.monotonic()
    eventually(lambda: not told(cluster, SERVERS), GONE_WITHIN, f"no finding left of {told(cluster, SERVERS)}")
    print(f"all gone after {time.monotonic() - began:.1f} s")

    def clean() -> bool:
        return all(cluster.condition("Degraded", server).get("reason") == "NoFinding" for server in SERVERS)

    eventually(clean, 20, "NoFinding everywhere")
