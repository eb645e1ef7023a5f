"""Advertisements of others, and the moments at which addresses came, from packets and messages as they are."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover import forge
from virtualserver.kernel.advertisements import Advertisement, Arrival, parse, unwrap
from virtualserver.kernel.attributes import attribute
from virtualserver.kernel.links import IFF_LOWER_UP, IFF_UP
from virtualserver.kernel.ownership import Ownership
from virtualserver.model.failover import Heard, Router, token

OTHER = ip_address("198.18.0.12")
PACKET = bytes.fromhex("3133fa01000a00007f767333")
NEW, GONE, NEW_LINK = 20, 21, 16


class TestAdvertisements:
    def test_what_it_says(self) -> None:
        assert parse(PACKET) == Advertisement(51, 250, 0.1)
        assert parse(PACKET[:2] + b"\0" + PACKET[3:]) == Advertisement(51, 0, 0.1)
        assert parse(PACKET[:4] + b"\xff\xff" + PACKET[6:]) == Advertisement(51, 250, 40.95)

    @pytest.mark.parametrize("message", [b"", PACKET[:7], PACKET[:11], b"\x21" + PACKET[1:], b"\x32" + PACKET[1:]])
    def test_all_else_is_passed_over(self, message: bytes) -> None:
        assert parse(message) is None

    def test_an_address_of_ipv6_is_longer(self) -> None:
        assert parse(PACKET, 6) is None
        assert parse(PACKET + bytes(12), 6) == Advertisement(51, 250, 0.1)

    @given(at=st.integers(0, 11), by=st.integers(1, 255))
    def test_a_message_that_was_changed_on_its_way_is_not_heard(self, at: int, by: int) -> None:
        message = forge.advertisement("198.18.0.12", 51, 250, 0.1, "127.118.115.51")
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(message), 0, 0, 255, 112, 0)
        header += OTHER.packed + ip_address("224.0.0.18").packed
        assert unwrap(header + message) == (255, message)
        changed = bytearray(header + message)
        changed[20 + at] ^= by
        assert unwrap(bytes(changed)) == (0, b"")

    @given(st.binary(max_size=64))
    def test_whatever_comes_is_no_trouble(self, packet: bytes) -> None:
        _, message = unwrap(packet)
        assert parse(message) is None


class Watched:
    """An ``Ownership`` that is told of addresses and advertisements by hand."""

    def __init__(self, missed: int = 3) -> None:
        self.now = 0.0
        self.it = Ownership(lambda: None, lambda _: Router("eth0", missed), lambda: self.now)

    def at(self, moment: float, kind: int, index: int = 1, host: str = "127.118.115.51") -> bool:
        self.now = moment
        address = ip_address(host)
        fixed = struct.pack("=BBBBI", 2 if address.version == 4 else 10, address.max_prefixlen, 0, 0, index)
        message = fixed + attribute(2, address.packed)
        return self.it._take(kind, message, 0, len(message))

    def link(self, moment: float, *, works: bool) -> None:
        self.now = moment
        fixed = struct.pack("=BxHiII", 0, 1, 2, IFF_UP | (IFF_LOWER_UP if works else 0), 0)
        message = fixed + attribute(3, b"eth0\0") + attribute(4, struct.pack("=I", 1500))
        self.it._take(NEW_LINK, message, 0, len(message))

    def hear(self, moment: float, priority: int = 249) -> None:
        self.it._heard[51] = Arrival(moment, OTHER, "eth0", Advertisement(51, priority, 0.1))


class TestMoments:
    def test_a_term_begins_with_the_token_and_ends_with_it(self) -> None:
        watched = Watched()
        assert watched.it.held_since(51) is None
        assert watched.at(5.0, NEW)
        assert not watched.at(6.0, NEW), "nothing new: the kernel repeats itself when lifetimes change"
        assert watched.it.held_since(51) == 5.0
        assert watched.at(7.0, GONE)
        assert watched.it.held_since(51) is None
        watched.at(8.0, NEW)
        assert watched.it.held_since(51) == 8.0
        assert watched.it.held_since(52) is None

    def test_an_address_on_two_links_is_there_until_both_have_lost_it(self) -> None:
        watched = Watched()
        watched.at(1.0, NEW)
        watched.at(2.0, NEW, index=2)
        watched.at(3.0, GONE)
        assert watched.it.held_since(51) == 1.0

    def test_link_local_addresses_wake_nobody(self) -> None:
        watched = Watched()
        assert not watched.at(1.0, NEW, host="fe80::1")
        assert watched.at(1.0, NEW, host="fd00::1")


class TestSilence:
    def test_it_counts_from_the_last_advertisement(self) -> None:
        watched = Watched()
        watched.link(1.0, works=True)
        watched.hear(2.0)
        watched.link(4.5, works=True)
        assert watched.it.silence(51) == 2.5, "nothing new: the link works as before"
        assert watched.it.silence(52) == 0.0, "what another group's directors say is nothing to this one"

    def test_while_the_link_is_down_it_says_nothing(self) -> None:
        watched = Watched()
        assert watched.it.silence(51) is None
        watched.link(1.0, works=True)
        watched.hear(2.0)
        watched.link(3.0, works=False)
        assert watched.it.silence(51) is None

    def test_who_has_heard_nobody_since_its_link_works_may_be_deaf_for_a_while(self) -> None:
        watched = Watched()
        watched.link(1.0, works=True)
        watched.hear(2.0)
        watched.link(3.0, works=False)
        watched.link(9.0, works=True)
        for watched.now, silence in ((18.0, 0.0), (21.5, 2.5)):
            assert watched.it.silence(51) == silence
        watched.hear(22.0)
        watched.now = 23.0
        assert watched.it.silence(51) == 1.0

    def test_what_was_heard_on_another_link_is_not_of_this_one(self) -> None:
        watched = Watched()
        watched.link(1.0, works=True)
        watched.it._heard[51] = Arrival(2.0, OTHER, "eth1", Advertisement(51, 249, 0.1))
        watched.now = 9.0
        assert watched.it.silence(51) == 0.0

    def test_the_own_term_was_no_silence(self) -> None:
        watched = Watched()
        watched.link(1.0, works=True)
        watched.hear(2.0)
        watched.at(3.0, NEW)
        watched.at(3600.0, GONE)
        watched.now = 3601.0
        assert watched.it.silence(51) == 1.0

    def test_when_notifications_are_lost_the_link_may_have_been_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        watched = Watched()
        watched.link(1.0, works=True)
        watched.hear(2.0)
        watched.now = 9.0
        monkeypatch.setattr(watched.it, "_look", lambda _: watched.it._note_working())
        watched.it._look_again()
        assert watched.it.silence(51) == 0.0


class TestOthers:
    def test_nobody_was_heard(self) -> None:
        watched = Watched()
        watched.at(1.0, NEW)
        assert watched.it.heard(51) is None
        assert watched.it.rival(51) is None

    @pytest.mark.parametrize(
        ("silence", "priority", "continues"),
        [(0.31, 249, False), (0.26, 249, False), (0.2, 249, True), (0.01, 0, False)],
    )
    def test_who_was_preempted_did_not_fall_silent(self, silence: float, priority: int, continues: bool) -> None:
        watched = Watched()
        watched.hear(1.0, priority)
        watched.at(1.0 + silence, NEW)
        assert watched.it.heard(51) == Heard(1.0, OTHER, priority, continues)

    def test_who_is_waited_for_longer_is_not_silent_sooner(self) -> None:
        watched = Watched(missed=7)
        watched.hear(1.0)
        watched.now = 1.7
        assert watched.it.taken(51)

    @pytest.mark.parametrize(("silence", "continues"), [(0.29, True), (0.31, False)])
    def test_who_fell_silent_while_it_was_preempted_is_not_taken_for_alive(
        self, silence: float, continues: bool
    ) -> None:
        watched = Watched(missed=7)
        watched.hear(1.0)
        watched.at(1.0 + silence, NEW)
        heard = watched.it.heard(51)
        assert heard is not None
        assert heard.continues is continues

    def test_two_are_active_when_the_other_one_goes_on(self) -> None:
        watched = Watched()
        watched.at(1.0, NEW)
        watched.hear(1.1)
        assert watched.it.rival(51) is None, "one takes over from the other"
        watched.hear(2.0)
        watched.now = 2.2
        assert watched.it.rival(51) is not None
        watched.now = 2.5
        assert watched.it.rival(51) is None, "it has fallen silent"
        watched.hear(2.5, 0)
        assert watched.it.rival(51) is None, "it yields"
        watched.hear(2.5)
        watched.at(2.5, GONE)
        assert watched.it.rival(51) is None, "only the other one is active"


def test_tokens_are_those_of_the_model() -> None:
    watched = Watched()
    watched.at(1.0, NEW, host=str(token(255).address))
    assert watched.it.held_since(255) == 1.0
