"""Small parts of the kernel layer: announcements, settings, words for refusals, the fake's own helpers."""

from __future__ import annotations

import errno
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from virtualserver.kernel.announce import gratuitous_arp, neighbour_advertisement
from virtualserver.kernel.attributes import attribute
from virtualserver.kernel.fake import FakeKernel
from virtualserver.kernel.links import IFF_LOOPBACK, IFF_NOARP, IFF_UP, decode_link
from virtualserver.kernel.port import Kernel, KernelError
from virtualserver.kernel.refusals import RefusedError, explain
from virtualserver.kernel.sysctls import Sysctls
from virtualserver.model.operations import (
    AddAddress,
    AddDestination,
    AddService,
    Operation,
    RemoveDestination,
    ReplaceRules,
    SetService,
    WriteSysctl,
)
from virtualserver.model.types import (
    DestinationContent,
    DestinationKey,
    LinkAddress,
    Protocol,
    Rules,
    ServiceContent,
    ServiceKey,
    Tunnel,
    TunnelType,
)

MAC = bytes.fromhex("020000000001")
KEY = ServiceKey(Protocol.TCP, ip_address("198.18.0.100"), 80)
SERVER = DestinationKey(ip_address("198.18.1.21"), 8080)


class TestAnnouncements:
    def test_arp_request_and_reply(self) -> None:
        vip = IPv4Address("198.18.0.100")
        request, reply = gratuitous_arp(MAC, vip, 1), gratuitous_arp(MAC, vip, 2)
        assert request.hex() == ("ffffffffffff02000000000108060001080006040001020000000001c6120064000000000000c6120064")
        assert reply[20:22] == b"\x00\x02"
        assert reply[32:38] == MAC

    def test_neighbour_advertisement(self) -> None:
        vip = IPv6Address("fd00:18::100")
        frame = neighbour_advertisement(MAC, vip, router=True)
        assert frame[:14].hex() == "33330000000102000000000186dd"
        ip, icmp = frame[14:54], frame[54:]
        assert struct.unpack(">IHBB", ip[:8]) == (0x60000000, 32, 58, 255)
        assert ip[8:24] == vip.packed
        assert ip[24:] == IPv6Address("ff02::1").packed
        assert icmp[:2] == bytes([136, 0])
        assert icmp[4:8] == bytes([0xA0, 0, 0, 0])
        assert icmp[8:] == vip.packed + bytes([2, 1]) + MAC
        words = struct.unpack(">36H", ip[8:] + struct.pack(">II", 32, 58) + icmp)
        total = sum(words)
        assert (total & 0xFFFF) + (total >> 16) == 0xFFFF  # the receiver's check of the sum

    def test_host_does_not_claim_to_be_a_router(self) -> None:
        assert neighbour_advertisement(MAC, IPv6Address("fd00::1"), router=False)[58] == 0x20


class TestSysctls:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for name, text in {"net/ipv4/vs/conntrack": "0\n", "net/ipv4/conf/eth0.100/rp_filter": "2\n"}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    def test_dots_within_a_part(self, root: Path) -> None:
        names = ["net.ipv4.conf.eth0/100.rp_filter", "net.ipv4.vs.conntrack", "net.ipv4.vs.missing"]
        assert Sysctls(root).read(names) == {names[0]: "2", names[1]: "0"}

    def test_write(self, root: Path) -> None:
        sysctls = Sysctls(root)
        sysctls.write("net.ipv4.vs.conntrack", "1")
        assert sysctls.read(["net.ipv4.vs.conntrack"]) == {"net.ipv4.vs.conntrack": "1"}

    def test_write_creates_nothing(self, root: Path) -> None:
        with pytest.raises(RefusedError) as refused:
            Sysctls(root).write("net.ipv4.vs.missing", "1")
        assert refused.value.errno == errno.ENOENT
        assert not (root / "net/ipv4/vs/missing").exists()

    @pytest.mark.parametrize("name", ["", "net..x", "net.//.x", "..", "net.\0"])
    def test_names_that_lead_elsewhere(self, root: Path, name: str) -> None:
        with pytest.raises(RefusedError) as refused:
            Sysctls(root).write(name, "1")
        assert refused.value.errno == errno.EINVAL
        with pytest.raises(KernelError):
            Sysctls(root).read([name])


@pytest.mark.parametrize(
    ("operation", "number", "words"),
    [
        (SetService(KEY, ServiceContent("mh")), errno.ENOENT, "does not have the scheduler mh"),
        (RemoveDestination(KEY, SERVER), errno.ENOENT, "real server 198.18.1.21:8080 of TCP 198.18.0.100:80"),
        (
            AddDestination(KEY, SERVER, DestinationContent(1, tunnel=Tunnel(TunnelType.GUE))),
            errno.EINVAL,
            "a GUE tunnel needs a port",
        ),
        (AddAddress(LinkAddress("eth9", KEY.address, 32)), errno.ENODEV, "no such link (ENODEV)"),
        (WriteSysctl("net.ipv4.vs.x", "1"), errno.ENOENT, "is its module loaded"),
        (ReplaceRules(Rules()), errno.EPERM, "CAP_NET_ADMIN"),
        (AddService(KEY, ServiceContent("rr")), errno.ENOMEM, "cannot allocate memory (ENOMEM)"),
        (AddService(KEY, ServiceContent("rr")), 9999, "(9999)"),
    ],
)
def test_refusals_in_words(operation: Operation, number: int, words: str) -> None:
    assert words in explain(operation, number)


class TestFake:
    def test_is_a_kernel(self) -> None:
        kernel: Kernel = FakeKernel()
        assert kernel.read().links == {"lo", "eth0"}

    def test_other_hands(self) -> None:
        kernel = FakeKernel()
        address = LinkAddress("eth0", KEY.address, 32)
        kernel.apply(
            [
                AddService(KEY, ServiceContent("rr")),
                AddDestination(KEY, SERVER, DestinationContent(1)),
                AddAddress(address),
                ReplaceRules(Rules(frozenset({KEY}))),
            ]
        )
        kernel.set_destination(KEY, SERVER, DestinationContent(7))
        assert kernel.read().services[KEY].destinations == {SERVER: DestinationContent(7)}
        kernel.set_destination(KEY, SERVER, None)
        assert kernel.read().services[KEY].destinations == {}
        kernel.remove_link("eth0")
        kernel.flush()
        kernel.flush_rules()
        state = kernel.read(rules=True)
        assert not state.services
        assert not state.addresses
        assert state.rules == Rules()
        assert state.links == {"lo"}

    def test_unreadable(self) -> None:
        kernel = FakeKernel()
        kernel.unreadable = "no IPVS here"
        with pytest.raises(KernelError, match="no IPVS here"):
            kernel.read()

    def test_a_read_is_a_copy(self) -> None:
        kernel = FakeKernel()
        kernel.apply([AddService(KEY, ServiceContent("rr"))])
        state = kernel.read()
        kernel.apply([AddDestination(KEY, SERVER, DestinationContent(1))])
        assert state.services[KEY].destinations == {}


class TestLinks:
    """Numbers of attributes: ``include/uapi/linux/if_link.h``."""

    @pytest.mark.parametrize(
        ("flags", "kind", "master", "elsewhere", "asked", "inward"),
        [
            (IFF_UP, "", "", False, True, False),
            (0, "", "", False, True, False),
            (IFF_UP | IFF_LOOPBACK, "", "", False, False, False),
            (IFF_UP | IFF_NOARP, "dummy", "", False, False, False),
            (IFF_UP, "", "bridge", False, False, False),
            (IFF_UP, "", "bond", False, False, False),
            (IFF_UP, "", "vrf", False, True, False),
            (IFF_UP, "veth", "", False, True, False),
            (IFF_UP, "veth", "", True, True, True),
            (IFF_UP, "netkit", "", True, True, True),
            (IFF_UP, "macvlan", "", True, True, False),
            (IFF_UP, "tun", "", False, True, True),
        ],
    )
    def test_who_is_asked_and_what_leads_into_a_container(
        self, flags: int, kind: str, master: str, elsewhere: bool, asked: bool, inward: bool
    ) -> None:
        info = b"".join(attribute(number, word.encode() + b"\0") for number, word in ((1, kind), (4, master)) if word)
        fields = attribute(3, b"some0\0") + attribute(4, struct.pack("=I", 1500))
        fields += attribute(10, struct.pack("=I", 9)) if master else b""
        fields += attribute(18, info) if info else b""
        fields += attribute(37, struct.pack("=i", 0)) if elsewhere else b""
        message = struct.pack("=BxHiII", 0, 1, 7, flags, 0) + fields
        link = decode_link(message, 0, len(message))
        assert (link.name, link.asked, link.inward) == ("some0", asked, inward)
