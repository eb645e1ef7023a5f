"""VRRP and mirrored connections reach a director from its fellows and from itself, not from anybody else.

Real packets between network namespaces. Collected only with VS_CONTRACT=netlink.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from contract.build import do
from contract.places import Place, segment_of_all
from virtualserver.kernel.netlink import Netlink
from virtualserver.model.failover import VRRP_PROTOCOL, Member
from virtualserver.model.operations import ReplaceRules
from virtualserver.model.types import IPAddress, Rules

VRRP, SYNC = 0, 8848
GROUPS = {4: ip_address("224.0.0.81"), 6: ip_address("ff02::51")}
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
Heard = set[tuple[int, int, str]]
"""IP version, port (0: VRRP) and who sent it."""


class Ears:
    """Sockets of a director for both IP versions, of VRRP and of a sync daemon: they hear the group and itself."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._sockets = {
            (version, port): place.call(_listening, version, port) for version in (4, 6) for port in (VRRP, SYNC)
        }

    def heard(self) -> Heard:
        """Return what has come since the last call."""
        found: Heard = set()
        for (version, port), ear in self._sockets.items():
            with contextlib.suppress(TimeoutError):
                while True:
                    found.add((version, port, ear.recv(2048).rpartition(b"|")[2].decode()))
        return found

    def close(self) -> None:
        for ear in self._sockets.values():
            ear.close()


def _listening(version: int, port: int) -> socket.socket:
    ear = socket.socket(_FAMILY[version], *((socket.SOCK_DGRAM,) if port else (socket.SOCK_RAW, VRRP_PROTOCOL)))
    if port and version == 6:
        ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if port:
        ear.bind(("" if version == 4 else "::", port))
    index = socket.if_nametoindex("eth0")
    group = GROUPS[version].packed
    if version == 4:
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4si", group, bytes(4), index))
    else:
        ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, struct.pack("16si", group, index))
    ear.settimeout(0.3)
    return ear


def _send(source: IPAddress, port: int, targets: list[IPAddress], word: str) -> None:
    """Send to each target from an address, with multicast looped back."""
    version = source.version
    kind = (socket.SOCK_DGRAM,) if port else (socket.SOCK_RAW, VRRP_PROTOCOL)
    with socket.socket(_FAMILY[version], *kind) as sender:
        index = socket.if_nametoindex("eth0")
        if version == 4:
            sender.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", bytes(4), bytes(4), index)
            )
        else:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        sender.bind((str(source), 0))
        for target in targets:
            sender.sendto(f"|{word}".encode(), (str(target), port))


def everything(*names: str) -> Heard:
    return set(itertools.product((4, 6), (VRRP, SYNC), names))


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, Place]]:
    with ExitStack() as stack:
        stack.enter_context(segment_of_all())
        numbers = {"director": 11, "fellow": 12, "stranger": 66}
        yield {name: stack.enter_context(Place(name, number)) for name, number in numbers.items()}


class World:
    """A director with its kernel, and who sends to it."""

    def __init__(self, places: dict[str, Place], stack: ExitStack) -> None:
        self._places = places
        self._director = places["director"]
        self._kernel = self._director.call(Netlink)
        self._ears = Ears(self._director)
        stack.callback(self._kernel.close)
        stack.callback(self._ears.close)
        stack.callback(self.admit)

    def admit(self, *members: Member) -> None:
        self._director.call(do, self._kernel, ReplaceRules(Rules(members=frozenset(members))))

    def heard(self, *senders: str) -> Heard:
        """Let everybody send VRRP and sync messages, to the group and to the director alone; return what comes in."""
        for name, version, port in itertools.product(senders or self._places, (4, 6), (VRRP, SYNC)):
            place = self._places[name]
            targets = [GROUPS[version], self._director.address(version)]
            place.call(_send, place.address(version), port, targets, name)
        return self._ears.heard()

    def members(self, *names: str, versions: tuple[int, ...] = (4, 6)) -> list[Member]:
        return [
            Member("eth0", self._places[name].address(version), port)
            for name, version, port in itertools.product(names, versions, (VRRP, SYNC))
        ]


@pytest.fixture
def world(places: dict[str, Place]) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(places, stack)


def test_without_rules_everybody_is_heard(world: World) -> None:
    """Else the tests below would prove nothing."""
    assert world.heard() == everything("director", "fellow", "stranger")


def test_forged_packets_are_dropped_and_those_of_members_and_of_the_director_itself_pass(world: World) -> None:
    world.admit(*world.members("director", "fellow"))
    assert world.heard() == everything("director", "fellow")


def test_a_director_that_is_not_listed_does_not_hear_itself_on_the_segment(world: World) -> None:
    """What it sends to its own address never comes in over the link, and is its own business."""
    world.admit(*world.members("fellow"))
    assert "stranger" not in {name for _, _, name in world.heard()}
    assert world.heard("fellow") == everything("fellow")


@pytest.mark.parametrize("version", [4, 6])
def test_a_family_without_members_is_shut(world: World, version: int) -> None:
    world.admit(*world.members("fellow", versions=(version,)))
    assert world.heard("fellow", "stranger") == {one for one in everything("fellow") if one[0] == version}


def test_links_and_ports_without_members_are_open(world: World) -> None:
    world.admit(*(one for one in world.members("fellow") if one.port == VRRP))
    assert world.heard("stranger") == {(4, SYNC, "stranger"), (6, SYNC, "stranger")}
    world.admit(Member("eth1", ip_address("198.18.0.12")), Member("eth1", ip_address("198.18.0.12"), SYNC))
    assert world.heard("stranger") == everything("stranger")
