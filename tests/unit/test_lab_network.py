"""The lab's topology is data: whoever writes manifests relies on its addresses."""

from __future__ import annotations

import ipaddress

import pytest

from lab import network


def test_every_host_has_the_documented_figure_in_every_segment() -> None:
    assert {host.name: host.number for host in network.HOSTS} == {
        "client": 2,
        "director-1": 11,
        "director-2": 12,
        "rs-1": 21,
        "rs-2": 22,
        "rs-3": 23,
        "node-1": 31,
        "node-2": 32,
        "pod-1a": 11,
        "pod-1b": 12,
        "pod-2a": 11,
    }
    assert network.CLIENT.addresses(21) == ["198.18.0.21/24", "fd00:18::21/64"]
    assert network.pods(31).addresses(11) == ["10.244.31.11/24", "fd00:10:244:31::11/64"]
    assert network.SERVER.addresses(11) == ["198.18.1.11/24", "fd00:18:1::11/64"]


def test_no_host_takes_the_gateway_or_a_virtual_address() -> None:
    numbers = {host.number for host in network.HOSTS}
    assert network.GATEWAY not in numbers
    assert numbers.isdisjoint(network.VIPS)


@pytest.mark.parametrize("name", ["lab", "bench", "dev1", "x", "zzzzzzzz"])
def test_a_management_segment_never_overlaps_the_fixed_segments(name: str) -> None:
    own = ipaddress.IPv4Network(f"{network.management(name).ipv4}.0/24")
    assert own.subnet_of(ipaddress.IPv4Network("198.18.0.0/16"))
    assert str(own) not in ("198.18.0.0/24", "198.18.1.0/24")


def test_the_labs_that_exist_have_different_management_segments() -> None:
    assert network.management("lab").ipv4 != network.management("bench").ipv4


@pytest.mark.parametrize("topology", list(network.TOPOLOGIES))
def test_each_host_lives_in_exactly_one_guest(topology: str) -> None:
    placed = [host for hosts in network.TOPOLOGIES[topology].values() for host in hosts]
    assert sorted(placed) == sorted(host.name for host in network.HOSTS)


def test_names_of_links_fit_the_kernel() -> None:
    script = network.build_script("a", network.TOPOLOGIES["one"]["a"], network.management("lab"), {"m": "vec0"})
    names = [line.split()[2] for line in script.splitlines() if line.startswith("link add")]
    assert names
    assert max(map(len, names)) <= 15


def test_real_servers_answer_from_their_server_address_through_the_gateway() -> None:
    script = network.build_script("a", ["rs-1"], network.management("lab"), {"m": "vec0"})
    assert "rule add from 198.18.1.0/24 lookup 100" in script
    assert "-6 rule add from fd00:18:1::/64 lookup 100" in script
    assert "route add default via fd00:18:1::1 dev eth1 table 100" in script


def test_a_machine_that_boots_again_has_the_hardware_addresses_that_its_neighbours_remember() -> None:
    uplinks = {"m": "vec0", "c": "vec1", "s": "vec2"}
    scripts = [
        network.build_script(guest, hosts, network.management("lab"), uplinks)
        for guest, hosts in network.TOPOLOGIES["three"].items()
    ]
    links = [line for script in scripts for line in script.splitlines() if " netns " in line and " veth " in line]
    named = [line.split(" address ")[1].split()[0] for line in links if " name eth0 netns pod-" not in line]
    bridges = [
        line.split(" address ")[1] for script in scripts for line in script.splitlines() if "br-m address" in line
    ]
    assert len(bridges) == len(scripts)
    assert len({*named, *bridges}) == len(named) + len(bridges)
