"""keepalived's configuration as text."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from virtualserver.kernel.keepalived import held, render
from virtualserver.model.failover import Instance, token
from virtualserver.model.types import LinkAddress

VIP = LinkAddress("eth0", ip_address("198.18.0.100"), 32)
VIP6 = LinkAddress("eth0", ip_address("fd00:18::100"), 128)
GATEWAY = LinkAddress("eth1", ip_address("198.18.1.1"), 24)
WEB = Instance("web.example", 51, "eth0", 100, 3, 250, links=("eth0", "eth1"), addresses=(VIP, VIP6, GATEWAY))
OTHER = Instance("other", 52, "eth0", 1000, 5, 249)


def lines(*instances: Instance) -> list[str]:
    return [line.strip() for line in render(instances, Path("/run/vs")).splitlines()]


def block(name: str, *instances: Instance) -> list[str]:
    """Return the lines of the first block of that name."""
    found = lines(*instances)
    start = found.index(f"{name} {{")
    return found[start + 1 : found.index("}", start)]


class TestRendering:
    def test_an_instance_starts_as_standby_and_stays_unless_it_must_move(self) -> None:
        found = lines(WEB)
        assert {"state BACKUP", "nopreempt", "virtual_router_id 51", "priority 250", "advert_int 0.1"} <= set(found)
        assert {"down_timer_adverts 3", "vrrp_version 3", 'interface "eth0"'} <= set(found)

    def test_only_the_token_is_advertised(self) -> None:
        assert [line.split()[0] for line in block("virtual_ipaddress", WEB)] == ["127.118.115.51/32"]
        excluded = block("virtual_ipaddress_excluded", WEB)
        assert [line.split()[0] for line in excluded] == ["198.18.0.100/32", "fd00:18::100/128", "198.18.1.1/24"]
        assert all("no_track" in line for line in excluded)
        assert ["preferred_lft 0" in line for line in excluded] == [False, True, False]
        assert ["noprefixroute" in line for line in excluded] == [True, True, False]

    def test_advertisements_by_ipv6_begin_with_a_link_local_address_and_the_token_is_held_all_the_same(self) -> None:
        six = replace(WEB, version=6)
        (advertised,) = block("virtual_ipaddress", six)
        assert ip_address(advertised.split("/")[0]).is_link_local
        assert block("virtual_ipaddress_excluded", six)[0].startswith("127.118.115.51/32")
        assert set(held(six)) - set(held(WEB)) == {LinkAddress("lo", ip_address(advertised.split("/")[0]), 128)}
        assert {token(51), *WEB.addresses} == set(held(WEB))

    def test_the_other_links_are_watched_too(self) -> None:
        assert block("track_interface", WEB) == ['"eth1"']
        assert "track_interface {" not in lines(OTHER)

    def test_eligibility_is_a_fault_or_not(self) -> None:
        assert block('track_file "web.example"', WEB) == ['file "/run/vs/eligible/web.example"', "weight 0"]
        assert block("track_file", WEB) == ['"web.example"']

    @pytest.mark.parametrize(
        ("delay", "there", "not_there"),
        [(None, "nopreempt", "preempt_delay"), (2.5, "preempt_delay 2.5", "nopreempt"), (0.0, "}", "preempt")],
    )
    def test_preemption(self, delay: float | None, there: str, not_there: str) -> None:
        found = lines(replace(WEB, preempt_delay=delay))
        assert there in found
        assert not any(line.startswith(not_there) for line in found)

    def test_unicast_takes_only_from_peers_on_the_segment(self) -> None:
        ends = {"source": ip_address("198.18.0.11"), "peers": (ip_address("198.18.0.12"),)}
        found = replace(WEB, **ends)  # type: ignore[arg-type]  # keywords of several types
        assert block("unicast_peer", found) == ["198.18.0.12 min_ttl 255"]
        assert "unicast_src_ip 198.18.0.11" in lines(found)
        assert "unicast_peer {" not in lines(replace(found, peers=()))

    def test_order_of_instances_changes_nothing_and_none_are_none(self) -> None:
        assert lines(WEB, OTHER) == lines(OTHER, WEB)
        assert not any(line.startswith("vrrp_instance") for line in lines())

    def test_names_cannot_say_anything_else(self) -> None:
        (line,) = (one for one in lines(replace(WEB, group='a" !#{}$x\\')) if one.startswith("vrrp_instance"))
        assert line == r'vrrp_instance "a\" !#{}$x\\" {'
