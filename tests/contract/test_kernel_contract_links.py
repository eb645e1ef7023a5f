"""What every kernel promises about links of ours; run against the fake one, and unchanged against the real one."""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import ip_address

import pytest

from contract.build import address, do, refused
from contract.worlds import LINK, World
from virtualserver.kernel.port import Kernel
from virtualserver.model.operations import (
    AddAddress,
    AddDecapsulation,
    AddLink,
    Operation,
    RaiseLink,
    RemoveDecapsulation,
    RemoveLink,
    WriteSysctl,
)
from virtualserver.model.types import Decapsulation, LinkAddress, LinkKind, OwnLink

NODE = {4: ip_address("10.77.0.5"), 6: ip_address("fd77::5")}
DIRECTOR = {4: ip_address("10.77.0.11"), 6: ip_address("fd77::11")}
OTHER = {4: ip_address("10.77.0.12"), 6: ip_address("fd77::12")}


def tunnel(kind: LinkKind, version: int = 4, checksum: bool = False) -> OwnLink:
    return OwnLink(kind, NODE[version], DIRECTOR[version], checksum)


IPIP = tunnel(LinkKind.IPIP)
DUMMY = OwnLink(LinkKind.DUMMY)
ALL = [
    DUMMY,
    IPIP,
    tunnel(LinkKind.SIT),
    tunnel(LinkKind.IP6TNL, 6),
    tunnel(LinkKind.GRE),
    tunnel(LinkKind.GRE, checksum=True),
    tunnel(LinkKind.IP6GRE, 6),
    tunnel(LinkKind.IP6GRE, 6, checksum=True),
]


@pytest.mark.parametrize("link", ALL, ids=str)
def test_made_down_then_raised_then_removed(kernel: Kernel, link: OwnLink) -> None:
    do(kernel, AddLink("vs-a", link))
    state = kernel.read()
    assert state.own_links == {"vs-a": replace(link, up=False)}
    assert "vs-a" in state.links
    do(kernel, RaiseLink("vs-a"), RaiseLink("vs-a"))
    assert kernel.read().own_links == {"vs-a": link}
    do(kernel, RemoveLink("vs-a"))
    state = kernel.read()
    assert state.own_links == {}
    assert "vs-a" not in state.links


def test_one_device_for_each_director(kernel: Kernel) -> None:
    links = {f"vs-{name}": replace(IPIP, remote=end) for name, end in (("a", DIRECTOR[4]), ("b", OTHER[4]))}
    do(kernel, *(AddLink(name, link) for name, link in links.items()))
    assert kernel.read().own_links == {name: replace(link, up=False) for name, link in links.items()}


@pytest.mark.parametrize("link", ALL[1:], ids=str)
def test_a_second_tunnel_between_the_same_ends_is_refused(kernel: Kernel, link: OwnLink) -> None:
    do(kernel, AddLink("vs-a", link))
    outcome = refused(kernel, AddLink("vs-b", link))
    assert outcome.errno == errno.EEXIST
    assert "between these addresses" in outcome.message


def test_settings_come_and_go_with_the_link(kernel: Kernel) -> None:
    names = ["net.ipv4.conf.vs-a.rp_filter", "net.ipv6.conf.vs-a.addr_gen_mode"]
    assert kernel.read(names).sysctls == {}
    do(kernel, AddLink("vs-a", IPIP), WriteSysctl(names[0], "2"), WriteSysctl(names[1], "1"), RaiseLink("vs-a"))
    state = kernel.read(names)
    assert state.sysctls == {names[0]: "2", names[1]: "1"}
    assert not [one for one in state.addresses if one.link == "vs-a"]  # with that mode, no address of its own
    do(kernel, RemoveLink("vs-a"))
    assert kernel.read(names).sysctls == {}


@pytest.mark.parametrize("link", [DUMMY, IPIP], ids=str)
def test_addresses_stand_on_it_and_go_with_it(kernel: Kernel, link: OwnLink) -> None:
    vips = [address("198.18.0.100", 32, "vs-a"), address("fd00:18::100", 128, "vs-a")]
    do(kernel, AddLink("vs-a", link), WriteSysctl("net.ipv6.conf.vs-a.addr_gen_mode", "1"), RaiseLink("vs-a"))
    before = kernel.read().addresses
    do(kernel, *(AddAddress(vip) for vip in vips))
    assert kernel.read().addresses == before | set(vips)
    do(kernel, RemoveLink("vs-a"))
    assert kernel.read().addresses == before


@pytest.mark.parametrize("kind", ["dummy", "veth"])
def test_a_link_of_others_is_never_touched(kernel: Kernel, world: World, kind: str) -> None:
    world.foreign_link("vs-a", kind)
    assert kernel.read().own_links == {}
    assert refused(kernel, AddLink("vs-a", DUMMY)).errno == errno.EEXIST
    for operation in (RaiseLink("vs-a"), RemoveLink("vs-a"), RemoveLink(LINK)):
        outcome = refused(kernel, operation)
        assert outcome.errno == errno.EPERM
        assert "not ours" in outcome.message


def test_changes_by_hand_are_seen(kernel: Kernel, world: World) -> None:
    do(kernel, AddLink("vs-a", IPIP), RaiseLink("vs-a"), AddLink("vs-b", tunnel(LinkKind.GRE)), RaiseLink("vs-b"))
    world.lower_link("vs-a")
    assert kernel.read().own_links["vs-a"] == replace(IPIP, up=False)
    world.move_tunnel("vs-a", OTHER[4])
    assert kernel.read().own_links["vs-a"] == replace(IPIP, local=OTHER[4], up=False)
    world.remove_link("vs-b")
    assert kernel.read().own_links.keys() == {"vs-a"}
    do(kernel, RemoveLink("vs-a"), AddLink("vs-a", IPIP), RaiseLink("vs-a"))
    assert kernel.read().own_links == {"vs-a": IPIP}


def _ends(kind: LinkKind, local: str | None, remote: str | None) -> OwnLink:
    return OwnLink(kind, ip_address(local) if local else None, ip_address(remote) if remote else None)


@pytest.mark.parametrize(
    ("code", "word", "operation"),
    [
        (errno.ENODEV, "no such link", RaiseLink("vs-missing")),
        (errno.ENODEV, "no such link", RemoveLink("vs-missing")),
        (errno.EINVAL, "no name", AddLink("eth7", DUMMY)),
        (errno.EINVAL, "no name", AddLink("vs-", DUMMY)),
        (errno.EINVAL, "no name", AddLink("vs-0123456789abc", DUMMY)),
        (errno.EINVAL, "no name", AddLink("vs-a.b", DUMMY)),
        (errno.EINVAL, "no ends", AddLink("vs-a", _ends(LinkKind.DUMMY, "10.0.0.1", None))),
        (errno.EINVAL, "no end", AddLink("vs-a", _ends(LinkKind.IPIP, "10.0.0.1", None))),
        (errno.EINVAL, "no end", AddLink("vs-a", _ends(LinkKind.GRE, None, "10.0.0.1"))),
        (errno.EINVAL, "no end", AddLink("vs-a", _ends(LinkKind.SIT, "10.0.0.1", "0.0.0.0"))),
        (errno.EINVAL, "no end", AddLink("vs-a", _ends(LinkKind.GRE, "10.0.0.1", "224.0.0.1"))),
        (errno.EINVAL, "IPv4", AddLink("vs-a", _ends(LinkKind.IPIP, "fd00::1", "fd00::2"))),
        (errno.EINVAL, "IPv6", AddLink("vs-a", _ends(LinkKind.IP6TNL, "10.0.0.1", "10.0.0.2"))),
        (errno.EINVAL, "checksum", AddLink("vs-a", replace(IPIP, checksum=True))),
        (errno.EINVAL, "cannot be made", AddLink("vs-a", OwnLink(LinkKind.UNKNOWN))),
        (errno.ENODEV, "no such link", AddAddress(LinkAddress("vs-missing", NODE[4], 32))),
    ],
)
def test_refusals(kernel: Kernel, code: int, word: str, operation: Operation) -> None:
    outcome = refused(kernel, operation)
    assert outcome.errno == code
    assert word in outcome.message


PORTS = [Decapsulation(port, version) for port in (6080, 258) for version in (4, 6)]


class TestDecapsulation:
    def test_ports_are_opened_and_closed_each_for_one_version(self, kernel: Kernel) -> None:
        assert kernel.read().decapsulations == frozenset()
        for count, one in enumerate(PORTS, 1):
            do(kernel, AddDecapsulation(one))
            assert kernel.read().decapsulations == set(PORTS[:count])
        for count, one in enumerate(PORTS, 1):
            do(kernel, RemoveDecapsulation(one))
            assert kernel.read().decapsulations == set(PORTS[count:])

    def test_ports_of_others_are_seen_and_stay(self, kernel: Kernel, world: World) -> None:
        world.foreign_port(7080, 6)
        do(kernel, AddDecapsulation(PORTS[0]), RemoveDecapsulation(PORTS[0]))
        assert kernel.read().decapsulations == {Decapsulation(7080, 6)}

    def test_a_port_closed_by_hand_is_seen_and_repaired(self, kernel: Kernel, world: World) -> None:
        do(kernel, AddDecapsulation(PORTS[0]), AddDecapsulation(PORTS[1]))
        world.remove_port(6080, 4)
        assert kernel.read().decapsulations == {PORTS[1]}
        do(kernel, AddDecapsulation(PORTS[0]))
        assert kernel.read().decapsulations == set(PORTS[:2])

    @pytest.mark.parametrize(
        ("code", "word", "operation"),
        [
            (errno.EADDRINUSE, "has the port", AddDecapsulation(PORTS[0])),
            (errno.EADDRINUSE, "has the port", AddDecapsulation(Decapsulation(9000, 4))),
            (errno.EINVAL, "not there", RemoveDecapsulation(PORTS[1])),
            (errno.EINVAL, "not there", RemoveDecapsulation(Decapsulation(9000, 4))),
            (errno.ERANGE, "no GUE", AddDecapsulation(Decapsulation(0, 4))),
            (errno.ERANGE, "no GUE", AddDecapsulation(Decapsulation(65536, 6))),
            (errno.ERANGE, "no GUE", AddDecapsulation(Decapsulation(6080, 5))),
        ],
    )
    def test_refusals(self, kernel: Kernel, world: World, code: int, word: str, operation: Operation) -> None:
        do(kernel, AddDecapsulation(PORTS[0]))
        world.listen(9000)
        outcome = refused(kernel, operation)
        assert outcome.errno == code
        assert word in outcome.message
