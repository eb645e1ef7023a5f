"""Machines outside the cluster as real servers: set up with the command, or with the script that it prints."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.world import VIP, VIP6, Cluster, Json, eventually, virtual_server
from lab.hosts import Result
from lab.lab import Lab

PROGRAM = [sys.executable, "-m", "virtualserver", "real-server"]
HOSTS = {"rs-1": ("198.18.0.21", "fd00:18::21"), "rs-2": ("198.18.0.22", "fd00:18::22")}
PROBE = Path(__file__).with_name("probe.py")
NEIGHBOURS = Path(__file__).with_name("neighbours.py")
SECONDS = 90
"""For one command: it starts dozens of programs, and the lab may share its processor."""
DIRECTORS = ("198.18.0.11", "198.18.0.12", "fd00:18::11", "fd00:18::12")
MODES: dict[str, tuple[Json, list[str]]] = {
    "DirectRouting": ({"mode": "DirectRouting"}, ["--mode", "DirectRouting"]),
    "IPIP": ({"mode": "Tunnel"}, ["--mode", "Tunnel"]),
    "GUE": ({"mode": "Tunnel", "tunnel": {"type": "GUE"}}, ["--mode", "Tunnel", "--tunnel", "GUE"]),
    "GRE with checksum": (
        {"mode": "Tunnel", "tunnel": {"type": "GRE", "checksum": True}},
        ["--mode", "Tunnel", "--tunnel", "GRE", "--checksum"],
    ),
}
SEEN = """
{ ip -o address; ip -o link show up; } | sed 's/^[0-9]*: //; s/ *valid_lft.*//; s/\\\\.*//'; ip fou show 2>/dev/null
iptables-legacy-save | grep -e ^-A -e VIRTUALSERVER; ip6tables-legacy-save | grep -e ^-A -e VIRTUALSERVER
for name in arp_ignore arp_announce rp_filter forwarding; do
  grep . /proc/sys/net/ipv4/conf/*/$name; done | grep -v -e tunl0 -e gre -e sit0 -e ip6 -e erspan
"""
"""All that a machine's owner would notice; what modules bring when they are first loaded is left out."""


class Machine:
    """One host of the lab, and the command on it."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.host = lab.host(name)
        self.folder = f"/run/machine-{name}"
        self.script = f"/run/machine-{name}.sh"

    def command(self, verb: str, *options: str, check: bool = True) -> Result:
        return self.host.run([*PROGRAM, verb, "--state-dir", self.folder, *options], SECONDS, check)

    def run_script(self, verb: str) -> str:
        return self.host.run(["sh", self.script, verb], SECONDS).out

    def print_script(self, options: list[str]) -> None:
        words = shlex.join([*PROGRAM, "script", "--state-dir", self.folder, *options])
        self.host.run(f"{words} >{self.script}")

    @property
    def has_state(self) -> bool:
        """Something was set up by the command, and not taken back."""
        return self.host.run(f"test -e {self.folder}/addresses.json", check=False).code == 0

    def seen(self) -> str:
        return self.host.run(SEEN).out


@pytest.fixture
def machines(lab: Lab) -> Iterator[list[Machine]]:
    made = [Machine(lab, name) for name in HOSTS]
    before = [one.seen() for one in made]
    yield made
    for one in made:
        if one.has_state or one.seen() != before[made.index(one)]:
            one.command("remove")
    assert [one.seen() for one in made] == before, "removing put all back as it was"


def asked(mode: str) -> list[str]:
    directors = [word for address in DIRECTORS for word in ("--director", address)]
    return ["--address", VIP, "--address", VIP6, *MODES[mode][1], *directors]


def serve(cluster: Cluster, mode: str) -> None:
    cluster.serve(
        virtual_server(
            "machines",
            addresses=[VIP, VIP6],
            ports=[{"port": 80}, {"port": 7, "name": "echo"}, {"port": 7, "protocol": "UDP", "name": "datagrams"}],
            forwarding=MODES[mode][0],
            realServers=[{"address": address} for addresses in HOSTS.values() for address in addresses],
        ),
        "4/4",
    )


def claimants(cluster: Cluster, address: str) -> set[str]:
    out = cluster.lab.host("client").run([sys.executable, str(NEIGHBOURS), address, "1.5"]).out
    return set(json.loads(out.splitlines()[-1]))


def check_traffic(cluster: Cluster) -> None:
    for address, client in ((VIP, "198.18.0.2"), (VIP6, "fd00:18::2")):
        answers = Counter(cluster.fetch(8, address))
        assert answers == {f"rs-1 {client}": 4, f"rs-2 {client}": 4}
    targets = [word for address in (VIP, VIP6) for kind in ("TCP", "UDP") for word in (kind, address, "7")]
    out = cluster.lab.host("client").run([sys.executable, str(PROBE), "4", *targets], timeout=90).out
    assert [json.loads(line) for line in out.splitlines()] == [{"answers": 4, "problem": ""}] * 4
    director = cluster.director("ip -br link show eth0", cluster.active())
    for address in (VIP, VIP6):
        (hardware,) = claimants(cluster, address)
        assert hardware in director


@pytest.mark.parametrize("mode", MODES)
def test_machines_set_up_by_the_command_serve_clients_whom_they_see(
    cluster: Cluster, machines: list[Machine], mode: str
) -> None:
    for one in machines:
        one.command("apply", *asked(mode))
    serve(cluster, mode)
    check_traffic(cluster)
    one = machines[0]
    seen = one.seen()
    assert one.command("apply", *asked(mode)).out.startswith("nothing to do")
    assert "wrong" not in one.command("check").out
    assert one.seen() == seen


@pytest.mark.parametrize("address", [VIP, VIP6], ids=["ARP", "NDP"])
def test_one_hardware_address_answers_while_machines_are_set_up_and_taken_down(
    cluster: Cluster, machines: list[Machine], address: str
) -> None:
    one, other = machines
    other.print_script(asked("DirectRouting"))
    serve(cluster, "DirectRouting")
    with cluster.claims(address, 240) as seen:
        one.command("apply", *asked("DirectRouting"))
        other.run_script("apply")
        one.command("apply", *asked("GUE"))
        one.command("remove")
        other.run_script("remove")
        claimed = seen.finish()
    assert list(claimed) == [cluster.hardware(cluster.active())]


@pytest.mark.parametrize("mode", ["DirectRouting", "GUE"])
def test_the_printed_script_does_what_the_command_does_and_takes_it_back(
    cluster: Cluster, machines: list[Machine], mode: str
) -> None:
    one, other = machines
    before = one.seen()
    one.command("apply", *asked(mode))
    by_command = one.seen()
    one.print_script(asked(mode))
    assert one.run_script("apply").startswith("nothing to do")
    one.run_script("remove")
    assert one.seen() == before
    one.run_script("apply")
    assert sorted(one.seen().splitlines()) == sorted(by_command.splitlines())
    assert one.command("check").code == 0
    assert one.command("apply", *asked(mode)).out.startswith("nothing to do")
    other.print_script(asked(mode))
    other.run_script("apply")
    serve(cluster, mode)
    check_traffic(cluster)
    for one in machines:
        one.run_script("remove")
        assert one.run_script("remove").startswith("nothing to do")


def test_links_without_an_address_are_quiet_by_the_command_and_by_the_script(lab: Lab, machines: list[Machine]) -> None:
    """Those that answer when somebody asks: no port of a bridge, and no link into a container without a network."""
    one = machines[0]
    lab.guest.run("for name in inner0 inner1; do ip -n rs-1 link add $name type veth peer name $name netns rs-3; done")
    try:
        one.host.run(
            "ip link add link eth0 name spare0 type macvlan && ip link add bridge0 type bridge && "
            "ip link add port0 type veth peer name plain0 && ip link set port0 master bridge0 && "
            "ip address add 10.9.9.1/24 dev inner1 && ip address add 10.9.8.1/32 dev inner0"
        )
        before = one.seen()
        one.command("apply", "--address", VIP, "--mode", "DirectRouting")
        quiet = one.host.run("grep -l 1 /proc/sys/net/ipv4/conf/*/arp_ignore").out
        one.print_script(["--address", VIP, "--mode", "DirectRouting"])
        assert one.run_script("apply").startswith("nothing to do")
        one.run_script("remove")
        assert one.seen() == before
        one.run_script("apply")
        assert one.host.run("grep -l 1 /proc/sys/net/ipv4/conf/*/arp_ignore").out == quiet
        one.command("remove")
        assert one.seen() == before
    finally:
        one.host.run("for name in spare0 bridge0 port0 inner0 inner1; do ip link del $name; done", check=False)
    assert {line.split("/")[6] for line in quiet.split()} == {"eth0", "eth1", "spare0", "bridge0", "plain0", "inner1"}


def test_check_names_what_another_hand_has_broken_and_apply_mends_it(machines: list[Machine]) -> None:
    one = machines[0]
    one.command("apply", *asked("GUE"))
    tunnels = one.host.run("ip -br link show type ipip").out.split()
    link = next(word.partition("@")[0] for word in tunnels if word.startswith("vs-"))
    one.host.run(
        f"ip address del {VIP}/32 dev vs-addresses; ip link set {link} down; ip fou del port 6080; "
        "sysctl -qw net.ipv4.conf.eth0.arp_ignore=0 net.ipv4.conf.all.rp_filter=1; "
        "sysctl -qw net.ipv4.conf.vs-addresses.rp_filter=0; "
        "iptables-legacy -t mangle -F VIRTUALSERVER-GUE"
    )
    try:
        found = one.command("check", check=False)
        one.command("apply", *asked("GUE"))
        mended = one.command("check").out
    finally:
        one.host.run("sysctl -qw net.ipv4.conf.all.rp_filter=0")
    assert found.code == 1
    wrong = [line.split(None, 1)[1] for line in found.out.splitlines() if line.startswith("  wrong")]
    for text in (
        f"address {VIP}/32 on vs-addresses: missing",
        "it is down",
        "GUE over IPv4 at UDP port 6080: closed",
        "net.ipv4.conf.eth0.arp_ignore = 1: it is 0",
        "which makes 1 (strict) on vs-addresses, because net.ipv4.conf.all.rp_filter is 1",
        "UDP port 6080 takes GUE from 198.18.0.11 and from no stranger: missing",
    ):
        assert any(text in line for line in wrong), (text, wrong)
    assert "wrong" not in mended


def test_addresses_add_up_and_change_over_and_leave_alone(machines: list[Machine]) -> None:
    one = machines[0]
    one.command("apply", "--address", VIP, "--mode", "DirectRouting")
    one.command("apply", "--address", "198.18.0.101", "--mode", "Tunnel", "--director", "198.18.0.11")
    one.command("apply", "--address", VIP, "--mode", "Tunnel", "--tunnel", "GRE", "--director", "198.18.0.11")
    links = one.host.run("ip -br link show group 30323").out
    assert links.count("vs-") == 3
    one.command("remove", "--address", VIP)
    seen = one.seen()
    assert f"{VIP}/32" not in seen
    assert "198.18.0.101/32" in seen
    assert "gre" not in one.host.run("ip -d -o link show group 30323").out
    assert one.command("check").code == 0


def test_connections_go_on_when_the_mode_of_a_live_virtual_server_changes(
    cluster: Cluster, machines: list[Machine]
) -> None:
    for one in machines:
        one.command("apply", *asked("GUE"))
    serve(cluster, "GUE")
    with cluster.load("hold", 7, 10) as clients:
        for one in machines:
            one.command("apply", "--keep", *asked("DirectRouting"))
        cluster.patch("machines", {"forwarding": {"tunnel": None} | MODES["DirectRouting"][0]})
        eventually(lambda: f"{HOSTS['rs-1'][0]}:0" in cluster.table(), 10, "new connections by Direct Routing")
        check_traffic(cluster)
        checked = machines[0].command("check").out
        time.sleep(5)
        assert clients.finish()["broken"] == []
    assert f"{VIP} (DirectRouting, and still Tunnel GUE at UDP port 6080 from {DIRECTORS[0]}" in checked
    assert "wrong" not in checked
    for one in machines:
        one.command("apply", *asked("DirectRouting"))
        left = one.host.run("ip fou show; ip -br link show group 30323").out
        assert [line.split()[0] for line in left.splitlines()] == ["vs-addresses"], left
    check_traffic(cluster)


def test_what_others_have_is_left_alone(machines: list[Machine]) -> None:
    one = machines[0]
    one.host.run("ip link add vs-addresses type dummy")
    try:
        refused = one.command("apply", "--address", VIP, "--mode", "DirectRouting", check=False)
        one.print_script(["--address", VIP, "--mode", "DirectRouting"])
        one.command("remove")
        script = one.host.run(["sh", one.script, "apply"], check=False)
        assert "vs-addresses" in one.host.run("ip -o link").out
    finally:
        one.host.run("ip link del vs-addresses")
    assert (refused.code, script.code) == (1, 1)
    for text in (refused.err, script.err):
        assert "another program made a link" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--address", "127.0.0.1", "--mode", "DirectRouting"], "--address 127.0.0.1: must not be a loopback address"),
        (["--address", VIP, "--mode", "Tunnel", "--director", "198.18.0.23"], "is this machine itself"),
        (
            ["--address", VIP, "--mode", "Tunnel", "--director", "198.18.0.11", "--local", "198.18.0.77"],
            "--local 198.18.0.77: this machine does not have it",
        ),
    ],
)
def test_an_option_that_cannot_be_used_is_named_and_nothing_is_done(lab: Lab, options: list[str], said: str) -> None:
    machine = Machine(lab, "rs-3")
    before = machine.seen()
    refused = machine.command("apply", *options, check=False)
    assert refused.code == 2
    assert said in refused.err
    assert machine.seen() == before
