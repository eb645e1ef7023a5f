"""Bytes of IPVS messages, field by field, and properties that hold for all of them."""

from __future__ import annotations

import errno
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from virtualserver.kernel import wire
from virtualserver.kernel.attributes import MalformedMessageError, attribute, messages, parse
from virtualserver.kernel.codec import Encoder
from virtualserver.kernel.decoding import DestinationDecoder, decode_destination, decode_service, fingerprint
from virtualserver.kernel.refusals import MAXIMUM_TIMEOUT, RefusedError
from virtualserver.model.operations import (
    AddDestination,
    AddService,
    RemoveDestination,
    RemoveService,
    SetDestination,
    SetService,
)
from virtualserver.model.schedulers import SCHEDULERS
from virtualserver.model.types import (
    DestinationContent,
    DestinationKey,
    ForwardingMethod,
    Protocol,
    ServiceContent,
    ServiceKey,
    Tunnel,
    TunnelType,
)

FAMILY = 0x1C
V4 = ServiceKey(Protocol.TCP, ip_address("198.18.0.100"), 80)
V6 = ServiceKey(Protocol.UDP, ip_address("fd00:18::100"), 53)
SERVER = DestinationKey(ip_address("198.18.1.21"), 8080)

_ports = st.integers(0, 65535)
_v4 = st.integers(0, 2**32 - 1).map(IPv4Address)
_v6 = st.integers(0, 2**128 - 1).map(IPv6Address)
_keys = st.builds(ServiceKey, st.sampled_from(Protocol), _v4 | _v6, _ports)
_servers = st.builds(DestinationKey, _v4 | _v6, _ports)
_tunnels = st.builds(Tunnel, st.sampled_from(TunnelType), _ports, st.booleans(), st.booleans())


@st.composite
def _contents(draw: st.DrawFn, version: int) -> ServiceContent:
    scheduler = draw(st.sampled_from(sorted(SCHEDULERS)))
    flags = draw(st.frozensets(st.sampled_from(SCHEDULERS[scheduler]))) if SCHEDULERS[scheduler] else frozenset()
    prefix = draw(st.integers(0, 32) if version == 4 else st.integers(1, 128))
    return ServiceContent(scheduler, flags, draw(st.integers(0, MAXIMUM_TIMEOUT)), prefix)


@st.composite
def _settings(draw: st.DrawFn) -> DestinationContent:
    upper = draw(st.integers(0, 2**32 - 1))
    return DestinationContent(
        weight=draw(st.integers(0, 2**31 - 1)),
        method=draw(st.sampled_from(ForwardingMethod)),
        upper_threshold=upper,
        lower_threshold=draw(st.integers(0, upper)),
        tunnel=draw(_tunnels),
    )


def _fields(request: bytes, nested: int) -> dict[int, bytes]:
    ((_, _, _, start, end),) = messages(request)
    value = parse(request, start + 4, end)[nested]
    return parse(value, 0, len(value))


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


def _u16(value: int) -> bytes:
    return struct.pack("=H", value)


def _entry(key: DestinationKey, content: DestinationContent, counts: int = 0) -> bytes:
    """Return a dump entry as ``ip_vs_genl_fill_dest`` of Linux 6.1 writes it."""
    tunnel = content.tunnel
    flags = tunnel.checksum * 1 | tunnel.remote_checksum * 2
    return attribute(
        wire.ATTR_DEST,
        b"".join(
            attribute(kind, value)
            for kind, value in [
                (wire.DEST_ADDR, key.address.packed.ljust(16, b"\0")),
                (wire.DEST_PORT, struct.pack(">H", key.port)),
                (wire.DEST_FWD_METHOD, _u32(content.method)),
                (wire.DEST_WEIGHT, _u32(content.weight)),
                (wire.DEST_TUN_TYPE, bytes([tunnel.type])),
                (wire.DEST_TUN_PORT, struct.pack(">H", tunnel.port)),
                (wire.DEST_TUN_FLAGS, _u16(flags)),
                (wire.DEST_U_THRESH, _u32(content.upper_threshold)),
                (wire.DEST_L_THRESH, _u32(content.lower_threshold)),
                (wire.DEST_ACTIVE_CONNS, _u32(counts)),
                (8, _u32(counts)),
                (9, _u32(counts)),
                (wire.DEST_ADDR_FAMILY, _u16(2 if key.address.version == 4 else 10)),
                (10, attribute(1, _u32(counts))),
            ]
        ),
    )


class TestRequests:
    def test_header(self) -> None:
        request = Encoder(FAMILY).destination(AddDestination(V4, SERVER, DestinationContent(1)), 5, 77)
        assert request[:20] == struct.pack("=IHHIIBBH", len(request), FAMILY, 5, 77, 0, wire.CMD_NEW_DEST, 1, 0)

    @pytest.mark.parametrize(
        ("operation", "command"),
        [
            (AddService(V4, ServiceContent("rr")), 1),
            (SetService(V4, ServiceContent("rr")), 2),
            (RemoveService(V4), 3),
        ],
    )
    def test_service_commands(self, operation: AddService | SetService | RemoveService, command: int) -> None:
        assert Encoder(FAMILY).service(operation, 1, 1)[16] == command

    @pytest.mark.parametrize(
        ("operation", "command"),
        [
            (AddDestination(V4, SERVER, DestinationContent(1)), 5),
            (SetDestination(V4, SERVER, DestinationContent(1)), 6),
            (RemoveDestination(V4, SERVER), 7),
        ],
    )
    def test_destination_commands(
        self, operation: AddDestination | SetDestination | RemoveDestination, command: int
    ) -> None:
        assert Encoder(FAMILY).destination(operation, 1, 1)[16] == command

    def test_service_fields(self) -> None:
        content = ServiceContent("sh", frozenset({"sh-port"}), 300, 20)
        assert _fields(Encoder(FAMILY).service(AddService(V4, content), 1, 1), wire.ATTR_SERVICE) == {
            wire.SVC_AF: _u16(2),
            wire.SVC_PROTOCOL: _u16(6),
            wire.SVC_ADDR: bytes([198, 18, 0, 100]) + bytes(12),
            wire.SVC_PORT: b"\x00\x50",
            wire.SVC_SCHED_NAME: b"sh\0",
            wire.SVC_FLAGS: _u32(0x11) + _u32(0xFFFFFFFF),
            wire.SVC_TIMEOUT: _u32(300),
            wire.SVC_NETMASK: b"\xff\xff\xf0\x00",
        }

    def test_ipv6_prefix_is_a_number_in_host_order(self) -> None:
        request = Encoder(FAMILY).service(AddService(V6, ServiceContent("rr", persistence_prefix=64)), 1, 1)
        fields = _fields(request, wire.ATTR_SERVICE)
        assert fields[wire.SVC_NETMASK] == _u32(64)
        assert fields[wire.SVC_AF] == _u16(10)

    def test_destination_fields(self) -> None:
        tunnel = Tunnel(TunnelType.GUE, 6080, checksum=True)
        content = DestinationContent(3, ForwardingMethod.TUNNEL, 20, 10, tunnel)
        request = Encoder(FAMILY).destination(SetDestination(V4, SERVER, content), 1, 1)
        assert _fields(request, wire.ATTR_SERVICE) == {
            wire.SVC_AF: _u16(2),
            wire.SVC_PROTOCOL: _u16(6),
            wire.SVC_ADDR: bytes([198, 18, 0, 100]) + bytes(12),
            wire.SVC_PORT: b"\x00\x50",
        }
        assert _fields(request, wire.ATTR_DEST) == {
            wire.DEST_ADDR: bytes([198, 18, 1, 21]) + bytes(12),
            wire.DEST_PORT: b"\x1f\x90",
            wire.DEST_ADDR_FAMILY: _u16(2),
            wire.DEST_FWD_METHOD: _u32(2),
            wire.DEST_WEIGHT: _u32(3),
            wire.DEST_U_THRESH: _u32(20),
            wire.DEST_L_THRESH: _u32(10),
            wire.DEST_TUN_TYPE: b"\x01",
            wire.DEST_TUN_PORT: b"\x17\xc0",
            wire.DEST_TUN_FLAGS: _u16(1),
        }

    def test_removal_names_only(self) -> None:
        request = Encoder(FAMILY).destination(RemoveDestination(V4, SERVER), 1, 1)
        assert _fields(request, wire.ATTR_DEST).keys() == {wire.DEST_ADDR, wire.DEST_PORT, wire.DEST_ADDR_FAMILY}

    def test_encoder_forgets_nothing_and_mixes_nothing_up(self) -> None:
        """It remembers the last service and settings: interleaved requests must equal those of fresh encoders."""
        operations = [
            AddDestination(service, DestinationKey(ip_address("10.0.0.1"), port), DestinationContent(weight))
            for weight in (1, 2)
            for service in (V4, V6, V4)
            for port in (80, 81)
        ]
        shared = Encoder(FAMILY)
        assert [shared.destination(one, 1, 1) for one in operations] == [
            Encoder(FAMILY).destination(one, 1, 1) for one in operations
        ]

    def test_bad_port_after_good_settings(self) -> None:
        encoder, content = Encoder(FAMILY), DestinationContent(1)
        encoder.destination(AddDestination(V4, SERVER, content), 1, 1)
        with pytest.raises(RefusedError) as refused:
            encoder.destination(AddDestination(V4, DestinationKey(SERVER.address, 65536), content), 1, 1)
        assert refused.value.errno == errno.ERANGE


class TestRoundTrips:
    @hypothesis_settings(max_examples=35, deadline=None)
    @given(st.data(), _keys)
    def test_service(self, data: st.DataObject, key: ServiceKey) -> None:
        content = data.draw(_contents(key.address.version))
        request = Encoder(FAMILY).service(SetService(key, content), 1, 1)
        assert decode_service(request, 20, len(request)) == (key, content)

    @hypothesis_settings(max_examples=35, deadline=None)
    @given(_keys, _servers, _settings())
    def test_destination(self, service: ServiceKey, key: DestinationKey, content: DestinationContent) -> None:
        request = Encoder(FAMILY).destination(AddDestination(service, key, content), 1, 1)
        assert decode_destination(request, 20, len(request), 4) == (key, content)

    @hypothesis_settings(max_examples=35, deadline=None)
    @given(st.lists(st.tuples(_servers, _settings()), min_size=1, max_size=4))
    def test_quick_way_equals_slow_way(self, entries: list[tuple[DestinationKey, DestinationContent]]) -> None:
        decoder = DestinationDecoder()
        for key, content in entries * 2:
            data = _entry(key, content)
            assert decoder.decode(data, 0, len(data), 4) == (key, content)
            assert decode_destination(data, 0, len(data), 4) == (key, content)

    @hypothesis_settings(max_examples=35, deadline=None)
    @given(_servers, _settings(), _servers, _settings())
    def test_fingerprints_differ_exactly_when_settings_do(
        self, key: DestinationKey, content: DestinationContent, other_key: DestinationKey, other: DestinationContent
    ) -> None:
        quiet, busy, second = _entry(key, content), _entry(key, content, 9), _entry(other_key, other)
        assert fingerprint(quiet, 0, len(quiet)) == fingerprint(busy, 0, len(busy))
        same = fingerprint(quiet, 0, len(quiet)) == fingerprint(second, 0, len(second))
        assert same == ((key, content) == (other_key, other))

    @hypothesis_settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=120))
    def test_garbage_is_refused_or_read_but_nothing_else(self, garbage: bytes) -> None:
        for decode in (
            lambda: list(messages(garbage)),
            lambda: decode_service(garbage, 0, len(garbage)),
            lambda: decode_service(attribute(1, garbage), 0, len(garbage) + 4),
            lambda: decode_destination(attribute(2, garbage), 0, len(garbage) + 4, 4),
            lambda: fingerprint(garbage, 0, len(garbage)),
        ):
            try:
                decode()
            except MalformedMessageError:
                continue

    @hypothesis_settings(max_examples=30, deadline=None)
    @given(st.integers(0, 140), _settings())
    def test_truncated_entries(self, size: int, content: DestinationContent) -> None:
        data = _entry(SERVER, content)
        with pytest.raises(MalformedMessageError):
            DestinationDecoder().decode(data, 0, min(size, len(data) - 1), 4)


class TestForeignSettings:
    """What we never ask for must be seen, and must not break a read."""

    def _service(
        self, bits: int = 0, timeout: int = 0, mask: bytes = b"\xff" * 4, extra: bytes = b""
    ) -> ServiceContent:
        fields = (
            attribute(wire.SVC_AF, _u16(2))
            + attribute(wire.SVC_PROTOCOL, _u16(6))
            + attribute(wire.SVC_ADDR, V4.address.packed + bytes(12))
            + attribute(wire.SVC_PORT, b"\x00\x50")
            + attribute(wire.SVC_SCHED_NAME, b"rr\0")
            + extra
            + attribute(wire.SVC_FLAGS, _u32(bits) + _u32(0xFFFFFFFF))
            + attribute(wire.SVC_TIMEOUT, _u32(timeout))
            + attribute(wire.SVC_NETMASK, mask)
        )
        data = attribute(wire.ATTR_SERVICE, fields)
        decoded = decode_service(data, 0, len(data))
        assert decoded is not None
        assert decoded[0] == V4
        return decoded[1]

    def test_the_kernels_own_flag_is_hidden(self) -> None:
        assert self._service(0x2) == ServiceContent("rr")

    @pytest.mark.parametrize(
        ("bits", "names"),
        [(0x4, {"ops"}), (0x8, {"flag-1"}), (0x20, {"bits-0x20"}), (0x1, {"persistent-0"})],
    )
    def test_flags_without_a_word(self, bits: int, names: set[str]) -> None:
        assert self._service(bits | 0x2).flags == names

    def test_timeout_without_persistence_means_nothing(self) -> None:
        assert self._service(0x2, 300).persistence_timeout == 0

    def test_persistence_engine(self) -> None:
        assert self._service(extra=attribute(wire.SVC_PE_NAME, b"sip\0")).flags == {"pe-sip"}

    def test_mask_that_is_no_prefix(self) -> None:
        assert self._service(mask=b"\xff\x00\xff\x00").persistence_prefix == -1

    def test_firewall_mark_and_other_protocols_are_passed_over(self) -> None:
        mark = attribute(wire.ATTR_SERVICE, attribute(wire.SVC_AF, _u16(2)) + attribute(wire.SVC_FWMARK, _u32(7)))
        assert decode_service(mark, 0, len(mark)) is None
        other = attribute(wire.ATTR_SERVICE, attribute(wire.SVC_AF, _u16(2)) + attribute(wire.SVC_PROTOCOL, _u16(50)))
        assert decode_service(other, 0, len(other)) is None

    def test_unknown_numbers_equal_no_known_ones(self) -> None:
        data = bytearray(_entry(SERVER, DestinationContent(1)))
        data[36:40] = _u32(7)
        data[52] = 9
        _, content = decode_destination(bytes(data), 0, len(data), 4)
        assert content.method not in set(ForwardingMethod)
        assert content.method.name == "UNKNOWN_7"
        assert content.tunnel.type.name == "UNKNOWN_9"
        assert content != DestinationContent(1)

    def test_old_kernels_without_tunnels_and_family(self) -> None:
        fields = b"".join(
            attribute(kind, value)
            for kind, value in [
                (wire.DEST_ADDR, ip_address("fd00::1").packed),
                (wire.DEST_PORT, b"\x00\x50"),
                (wire.DEST_FWD_METHOD, _u32(0)),
                (wire.DEST_WEIGHT, _u32(4)),
                (wire.DEST_U_THRESH, _u32(0)),
                (wire.DEST_L_THRESH, _u32(0)),
                (wire.DEST_ACTIVE_CONNS, _u32(5)),
            ]
        )
        data = attribute(wire.ATTR_DEST, fields)
        expected = (DestinationKey(ip_address("fd00::1"), 80), DestinationContent(4))
        assert decode_destination(data, 0, len(data), 6) == expected
        assert DestinationDecoder().decode(data, 0, len(data), 6) == expected
        assert fingerprint(data, 0, len(data)) == data
