"""Bytes of preflight's requests, and what it reads out of answers."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from virtualserver.kernel import duplicates, icmp, routes
from virtualserver.kernel.attributes import attribute
from virtualserver.kernel.links import Link
from virtualserver.model.facts import Route
from virtualserver.model.types import IPAddress, Tunnel, TunnelType

HERE, THERE = IPv4Address("198.18.0.11"), IPv4Address("198.18.0.31")
HERE6, THERE6 = IPv6Address("fd00:18::11"), IPv6Address("fd00:18::31")
HARDWARE = bytes.fromhex("020000000011")


@pytest.mark.parametrize(("here", "there"), [(HERE, THERE), (HERE6, THERE6)])
@pytest.mark.parametrize("size", [64, 65, 1500])
def test_an_echo_request_has_the_size_that_was_asked_for_and_a_right_checksum(
    here: IPAddress, there: IPAddress, size: int
) -> None:
    message = icmp.request(here, there, 7, 9, size)
    assert len(icmp.packet(here, there, message)) == size
    pseudo = here.packed + there.packed + struct.pack(">II", len(message), 58) if there.version == 6 else b""
    assert icmp.checksum(pseudo + message) == 0


@pytest.mark.parametrize(("here", "there", "kind"), [(HERE, THERE, 0), (HERE6, THERE6, 129)])
def test_an_echo_reply_is_read(here: IPAddress, there: IPAddress, kind: int) -> None:
    message = bytes([kind, 0, 0, 0]) + struct.pack(">HH", 7, 9)
    assert icmp.parse(icmp.packet(there, here, message)) == icmp.Reply(there, 7, 9)


@pytest.mark.parametrize(("here", "there", "kind"), [(HERE, THERE, 3), (HERE6, THERE6, 4)])
def test_a_refusal_names_the_receiver_of_the_packet_that_it_quotes(
    here: IPAddress, there: IPAddress, kind: int
) -> None:
    quoted = icmp.packet(here, there, b"\0" * 8)
    at = 9 if here.version == 4 else 6
    quoted = quoted[:at] + bytes([icmp.GRE]) + quoted[at + 1 :]
    assert icmp.parse(icmp.packet(there, here, bytes([kind, 2, 0, 0]) + bytes(4) + quoted)) == icmp.Refusal(there, 47)


@pytest.mark.parametrize("cut", range(36))
def test_what_is_cut_off_is_nothing(cut: int) -> None:
    whole = icmp.packet(THERE, HERE, bytes([3, 3, 0, 0]) + bytes(4) + icmp.packet(HERE, THERE, b""))
    assert icmp.parse(whole[:cut]) is None


def test_tunnels_have_the_headers_of_their_kind() -> None:
    four, six = icmp.packet(HERE, THERE, b"x"), icmp.packet(HERE6, THERE6, b"x")
    assert icmp.wrap(Tunnel(), four) == (4, four)
    assert icmp.wrap(Tunnel(), six) == (41, six)
    assert icmp.wrap(Tunnel(TunnelType.GUE, 6080), six) == (17, b"\0\x29\0\0" + six)
    assert icmp.wrap(Tunnel(TunnelType.GRE), six) == (47, bytes.fromhex("000086dd") + six)
    protocol, payload = icmp.wrap(Tunnel(TunnelType.GRE, checksum=True), four)
    assert (protocol, payload[:4], icmp.checksum(payload)) == (47, bytes.fromhex("80000800"), 0)


def test_who_asks_twice_says_nothing_of_itself() -> None:
    probe = duplicates.arp_probe(HARDWARE, THERE)
    assert probe[14:18] == bytes(4)  # RFC 5227 section 1.1: the sender's address is zero
    assert probe[24:28] == THERE.packed
    packet = duplicates.solicitation(THERE6)
    assert packet[8:24] == bytes(16)  # RFC 4862 section 5.4.2: the unspecified address
    assert ip_address(packet[24:40]) == IPv6Address("ff02::1:ff00:31")
    assert packet[7] == 255
    pseudo = packet[8:40] + struct.pack(">II", len(packet) - 40, 58)
    assert icmp.checksum(pseudo + packet[40:]) == 0


def answer(kind: int, *attributes: bytes) -> bytes:
    return struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 0, 0, kind, 0) + b"".join(attributes)


ETH0 = {7: Link(7, "eth0", 1, HARDWARE, mtu=1500)}
OUT = attribute(4, struct.pack("=I", 7))


def test_a_route_has_its_own_mtu_where_it_has_one() -> None:
    source = attribute(7, HERE.packed)
    assert routes.decode(answer(1, OUT, source), ETH0) == Route("eth0", None, HERE, 1500)
    metrics = attribute(8, attribute(2, struct.pack("=I", 1400)))
    assert routes.decode(answer(1, OUT, source, metrics), ETH0).mtu == 1400


def test_a_gateway_may_be_of_the_other_family() -> None:
    via = attribute(18, struct.pack("=H", 10) + THERE6.packed)
    assert routes.decode(answer(1, OUT, via), ETH0).gateway == THERE6
    assert routes.decode(answer(1, OUT, attribute(5, THERE.packed)), ETH0).gateway == THERE


@pytest.mark.parametrize("kind", [6, 7, 8])
def test_a_route_that_refuses_is_none(kind: int) -> None:
    assert routes.decode(answer(kind), ETH0).refused
