"""The kernel's table of connections, read; and the messages that carry its entries to another kernel."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtualserver.kernel import connections
from virtualserver.kernel.port import KernelError
from virtualserver.kernel.syncwire import messages
from virtualserver.model.connections import ESTABLISHED, Connection
from virtualserver.model.types import DestinationContent, DestinationKey, Protocol, Service, ServiceContent, ServiceKey
from virtualserver.plan.mirroring import TICK, TICK_SERVICE, taker

HEAD = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n"
LINE = "TCP C6120002 9C40 C6120064 0050 C6120115 1F90 ESTABLISHED SYNC       899\n"
LINE6 = (
    "UDP fd00:0018:0000:0000:0000:0000:0000:0002 9C40 fd00:0018:0000:0000:0000:0000:0000:0100 0035 "
    "fd00:0018:0001:0000:0000:0000:0000:0021 0035 UDP         LOCAL       0\n"
)
VIP, SERVER = ip_address("198.18.0.100"), ip_address("198.18.1.21")
ONE = Connection(Protocol.TCP, ip_address("198.18.0.2"), 40000, VIP, 80, SERVER, 8080, ESTABLISHED, 899, True)
SIX = Connection(
    Protocol.UDP,
    ip_address("fd00:18::2"),
    40000,
    ip_address("fd00:18::100"),
    53,
    ip_address("fd00:18:1::21"),
    53,
    "UDP",
    0,
)
TEMPLATE = ONE._replace(client_port=0, state="ASSURED", expires=12, synced=False)


class TestTable:
    def test_both_families(self, tmp_path: Path) -> None:
        table = tmp_path / "ip_vs_conn_sync"
        table.write_text(HEAD + LINE + LINE6)
        assert list(connections.read(table)) == [ONE, SIX]

    def test_templates(self) -> None:
        (found,) = connections.parse([LINE.replace("9C40", "0000").replace("ESTABLISHED SYNC ", "ASSURED     LOCAL")])
        assert found.template
        assert not found.synced
        assert not ONE.template
        assert not ONE._replace(client_port=0).template  # FTP's, whose port is not known yet

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "\n",
            HEAD,
            LINE.replace("TCP", "IP "),
            LINE.replace("TCP", "89 "),
            LINE[:40],
            LINE.replace("9C40", "wxyz"),
            LINE.replace("C6120002", "C612000200"),
            LINE.replace("899", "899 more"),
        ],
    )
    def test_what_is_no_connection_of_ours_is_passed_over(self, line: str) -> None:
        assert list(connections.parse([line, LINE])) == [ONE]

    def test_keys_are_those_of_the_words_that_all_directors_share(self) -> None:
        elsewhere = LINE.replace("ESTABLISHED SYNC       899", "FIN_WAIT    LOCAL      118").rstrip("\n")
        assert connections.key(LINE) == connections.key(elsewhere)
        assert connections.key(LINE) != connections.key(LINE.replace("9C40", "9C41"))
        assert connections.keys([HEAD, LINE, "", LINE6]) == {connections.key(LINE): ONE, connections.key(LINE6): SIX}

    def test_lines_of_some_addresses(self) -> None:
        other = LINE.replace("C6120064", "C6120065")
        assert list(connections.of([HEAD, LINE, other, LINE6, "\n"], [VIP, SIX.virtual])) == [LINE, LINE6]

    def test_count(self) -> None:
        assert connections.count([ONE, TEMPLATE, SIX, ONE]) == {VIP: 3, SIX.virtual: 1}

    def test_without_ipvs(self, tmp_path: Path) -> None:
        with pytest.raises(KernelError, match="No such file"):
            list(connections.read(tmp_path / "none"))


class TestMessages:
    def test_bytes_of_an_entry(self) -> None:
        (message,) = messages([ONE], 51)
        assert message == (
            struct.pack(">BBHBBH", 0, 51, 8 + 36, 1, 1, 0)
            + struct.pack(">BBHIHHHHII", 0, 6, 36, 0, 1, 40000, 80, 8080, 0, 899)
            + ONE.client.packed
            + VIP.packed
            + SERVER.packed
        )

    def test_bytes_of_the_other_family(self) -> None:
        (message,) = messages([SIX], 0)
        assert message[8:32] == struct.pack(">BBHIHHHHII", 1, 17, 24 + 48, 0, 0, 40000, 53, 53, 0, 1)
        assert message[32:] == SIX.client.packed + SIX.virtual.packed + SIX.server.packed

    def test_template(self) -> None:
        (message,) = messages([TEMPLATE], 0)
        assert message[8:32] == struct.pack(">BBHIHHHHII", 0, 6, 36, 0x1000, 1, 0, 80, 8080, 0, 12)

    @pytest.mark.parametrize(
        ("protocol", "state", "number", "inactive"),
        [
            (Protocol.TCP, "SYN_RECV", 3, False),
            (Protocol.TCP, "FIN_WAIT", 4, True),
            (Protocol.TCP, "CLOSE_WAIT", 7, True),
            (Protocol.SCTP, "ESTABLISHED", 8, False),
            (Protocol.SCTP, "CLOSED", 13, True),
        ],
    )
    def test_states(self, protocol: Protocol, state: str, number: int, inactive: bool) -> None:
        (message,) = messages([ONE._replace(protocol=protocol, state=state)], 0)
        flags, found = struct.unpack_from(">IH", message, 12)
        assert (found, flags) == (number, 0x100 if inactive else 0)

    def test_unknown_states_are_left_out(self) -> None:
        assert list(messages([ONE._replace(state="BUG!")], 0)) == []

    @given(
        st.lists(
            st.builds(
                lambda v6, port, expires: (SIX if v6 else ONE)._replace(client_port=port, expires=expires),
                st.booleans(),
                st.integers(1, 65535),
                st.integers(0, 2**31),
            ),
            max_size=300,
        ),
        st.integers(84, 20000),
    )
    def test_all_are_in_whole_messages_of_the_allowed_length(self, given_: list[Connection], maximum: int) -> None:
        ports: list[int] = []
        for message in messages(given_, 7, maximum):
            assert len(message) <= maximum
            _, sync_id, size, count, version, _ = struct.unpack_from(">BBHBBH", message)
            assert (sync_id, size, version) == (7, len(message), 1)
            at = 8
            for _ in range(count):
                length, port = struct.unpack_from(">H", message, at + 2)[0], struct.unpack_from(">H", message, at + 10)
                ports += port
                at += length
            assert at == size
        assert ports == [one.client_port for one in given_]


class TestTaker:
    KEY = ServiceKey(Protocol.TCP, VIP, 80)

    def services(self, server: str = "198.18.1.21", port: int = 8080, timeout: int = 0) -> dict[ServiceKey, Service]:
        content = ServiceContent("rr", persistence_timeout=timeout)
        return {self.KEY: Service(content, {DestinationKey(ip_address(server), port): DestinationContent(0)})}

    def test_only_with_its_real_server(self) -> None:
        assert taker(self.services())(ONE) == ONE
        assert taker(self.services("198.18.1.22"))(ONE) is None
        assert taker(self.services(port=8081))(ONE) is None
        assert taker({})(ONE) is None
        assert taker(self.services())(ONE._replace(protocol=Protocol.UDP)) is None

    def test_what_pushes_the_newest_out_is_nobodys_connection(self) -> None:
        (server,) = TICK_SERVICE.destinations
        pushing = ONE._replace(
            virtual=TICK.address, virtual_port=TICK.port, server=server.address, server_port=server.port
        )
        assert taker({TICK: TICK_SERVICE})(pushing) is None

    def test_templates_last_their_whole_timeout(self) -> None:
        assert taker(self.services(timeout=300))(TEMPLATE) == TEMPLATE._replace(expires=300)
        assert taker(self.services())(TEMPLATE) is None

    def test_services_of_all_ports(self) -> None:
        services = {
            ServiceKey(Protocol.TCP, VIP, 0): Service(
                ServiceContent("rr", persistence_timeout=60), {DestinationKey(SERVER, 0): DestinationContent(1)}
            )
        }
        template = TEMPLATE._replace(virtual_port=0, server_port=0)
        take = taker(services)
        assert [take(one) for one in (ONE, template)] == [ONE, template._replace(expires=60)]


@given(
    st.builds(
        Connection,
        st.sampled_from(Protocol),
        st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address),
        st.integers(0, 65535),
        st.just(VIP),
        st.integers(0, 65535),
        st.just(SERVER),
        st.integers(0, 65535),
        st.sampled_from(["ESTABLISHED", "NONE", "CLOSE"]),
        st.integers(0, 2**31),
        st.booleans(),
    )
)
def test_lines_as_the_kernel_prints_them_are_understood(one: Connection) -> None:
    words = [_printed(one.client), _printed(one.virtual), _printed(one.server)]
    ports = [f"{port:04X}" for port in (one.client_port, one.virtual_port, one.server_port)]
    places = " ".join(f"{word} {port}" for word, port in zip(words, ports, strict=True))
    origin = "SYNC" if one.synced else "LOCAL"
    assert list(connections.parse([f"{one.protocol:<3} {places} {one.state:<11} {origin:<6} {one.expires:7}\n"])) == [
        one
    ]


def _printed(address: IPv4Address | IPv6Address) -> str:
    return f"{int(address):08X}" if address.version == 4 else address.exploded
