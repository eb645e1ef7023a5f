"""What the kernel's own sync daemons do, and what they do not: real traffic through a director mirrored to another.

Collected only with VS_CONTRACT=netlink.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address

import pytest

from contract.build import do
from contract.machines import PORT, VIP
from contract.packets import tcp_segment
from contract.pairs import RECEIVER, SENDER, Pair, await_, keys, pair, table
from contract.places import Place
from virtualserver.kernel import syncwire
from virtualserver.kernel.tick import INTERVAL, Tick
from virtualserver.model.connections import ESTABLISHED, Connection
from virtualserver.model.failover import Member
from virtualserver.model.operations import ReplaceRules
from virtualserver.model.types import ForwardingMethod, Protocol, Rules, State
from virtualserver.plan.mirroring import TICK

ACK = 0x10
ENTRIES = 1000


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("records")) as made:
        yield made


@pytest.fixture
def world(both: Pair) -> Iterator[Pair]:
    yield both
    both.clean()


def known(pair: Pair) -> set[int]:
    """Return the ports of clients whose connections the second director has."""
    return {one.client_port for one in table(pair.two) if one.virtual == VIP[4]}


class TestTheNewestConnections:
    def lag(self, world: Pair, between: Callable[[], object]) -> float:
        """Open a connection and return how long it took until the other director had it; ``between`` looks."""
        (opened,) = world.connect(1, versions=[4])
        began, port = time.monotonic(), opened.getsockname()[1]
        while port not in known(world):
            assert time.monotonic() - began < 5
            between()
        return time.monotonic() - began

    def test_alone_they_wait_for_seconds_however_short_messages_are(self, world: Pair) -> None:
        world.set_up(ForwardingMethod.DIRECT_ROUTING)
        world.mirror()
        assert self.lag(world, lambda: time.sleep(0.02)) > 1.5

    def test_are_pushed_out_by_a_tick(self, world: Pair) -> None:
        world.set_up(ForwardingMethod.DIRECT_ROUTING)
        world.mirror()
        tick = Tick(lambda: True)

        def between() -> None:
            time.sleep(INTERVAL)
            world.one.place.call(tick.once)

        between()
        lags = [self.lag(world, between) for _ in range(10)]
        print(f"seconds until the other director has a connection: {sorted(round(one, 3) for one in lags)}")
        assert max(lags) < 1, lags

    def test_a_tick_does_nothing_while_no_packet_comes(self, world: Pair) -> None:
        world.set_up(ForwardingMethod.DIRECT_ROUTING)
        world.mirror()
        tick = Tick(lambda: True)
        (opened,) = world.connect(1, versions=[4])
        assert world.one.place.call(tick.once)
        assert [world.one.place.call(tick.once) for _ in range(5)] == [False] * 5
        assert world.survivors([opened]) == {opened}
        assert world.one.place.call(tick.once)

    def test_what_pushes_comes_down_to_one_entry_which_is_no_open_connection(self, world: Pair) -> None:
        world.set_up(ForwardingMethod.DIRECT_ROUTING)
        world.mirror()
        for _ in range(10):
            world.one.place.call(Tick(lambda: True).once)
        await_(lambda: [one.virtual for one in table(world.two)] == [TICK.address])
        await_(lambda: [(one.virtual, one.state) for one in table(world.one)] == [(TICK.address, "CLOSE")])


def test_persistence_templates_are_mirrored(world: Pair) -> None:
    world.set_up(ForwardingMethod.DIRECT_ROUTING, persistence=300)
    world.mirror()
    clients = world.more_clients(6)
    world.connect_from(clients)
    templates = {one.client: one.server for one in table(world.one) if one.template}
    assert len(templates) == len(clients)
    await_(lambda: {one.client: one.server for one in table(world.two) if one.template} == templates)


def test_a_receiver_is_deaf_after_its_link_was_made_anew_until_it_is_started_again(world: Pair) -> None:
    world.set_up(ForwardingMethod.DIRECT_ROUTING)
    world.mirror()
    world.stop(world.two, RECEIVER)
    wanted = State(world.services, daemons=frozenset({RECEIVER}))
    world.two.bring(wanted)

    def connect() -> set[int]:
        return {one.getsockname()[1] for one in world.connect(5, versions=[4])}

    before = connect()
    await_(lambda: before <= known(world))
    world.two.place.rejoin()
    assert world.two.read(State()).daemons == {RECEIVER}, "the kernel says that it runs"
    missed = connect()
    time.sleep(4)
    assert not missed & known(world)
    assert world.two.bring(wanted) > 0
    after = connect()
    await_(lambda: after <= known(world))


@pytest.mark.parametrize("loss", [0, 1, 5])
def test_how_much_is_mirrored_over_a_link_that_loses(
    world: Pair, loss: int, record_property: Callable[[str, object], None]
) -> None:
    """After 5 s, of connections with a packet every 1.5 s, and of those that were silent after their first one."""
    world.set_up(ForwardingMethod.DIRECT_ROUTING)
    world.one.place.sysctl("net/ipv4/vs/sloppy_tcp", 1)
    world.mirror()
    rule = (
        f"INPUT -p udp --dport {RECEIVER.port} -m statistic --mode nth --every {100 // max(loss, 1)} --packet 0 -j DROP"
    )
    talking, silent = range(10000, 10000 + ENTRIES), range(20000, 20000 + ENTRIES)
    if loss:
        world.two.place.run(f"iptables-legacy -w -A {rule}")
    try:
        world.client.call(_acknowledge, world.client, [*talking, *silent])
        for _ in range(2):
            time.sleep(1.5)
            world.client.call(_acknowledge, world.client, talking)
        time.sleep(2)
        found = known(world)
    finally:
        if loss:
            world.two.place.run(f"iptables-legacy -w -D {rule}")
        world.one.place.sysctl("net/ipv4/vs/sloppy_tcp", 0)
    both = {"talking": talking, "silent": silent}
    shares = {name: len(found.intersection(ports)) / ENTRIES for name, ports in both.items()}
    for name, share in shares.items():
        record_property(f"mirrored_{loss}_{name}", share)
    print(f"mirrored at {loss} % loss: {shares}")
    assert shares["talking"] >= 1 - loss / 1000
    assert -0.03 <= shares["silent"] - (1 - loss / 100) <= 0.01, "nobody sends those again"


def _acknowledge(client: Place, ports: Iterable[int]) -> None:
    """Send one packet of each of these connections; to a director that takes any for a connection's first."""
    source = client.address(4)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as sender:
        for port in random.sample(list(ports), len(list(ports))):
            sender.sendto(tcp_segment(source, VIP[4], (port, PORT), ACK), (str(VIP[4]), 0))


def test_forged_messages_change_nothing_and_those_of_members_do(world: Pair) -> None:
    world.set_up(ForwardingMethod.DIRECT_ROUTING)
    world.start(world.two, RECEIVER)
    stranger, member = world.servers[0].place, world.one.place
    numbers = iter(range(3000, 4000, 10))

    def taken(place: Place) -> set[tuple[object, ...]]:
        """Send connections from there; return which of them the director took."""
        made = _connections(world, next(numbers))
        place.call(_send, list(syncwire.messages(made, SENDER.sync_id)))
        time.sleep(1)
        return keys(made) & keys(table(world.two))

    assert len(taken(stranger)) == 10, "else what follows would prove nothing"
    rules = Rules(members=frozenset({Member("eth0", member.address(4), RECEIVER.port)}))
    world.two.place.call(do, world.two.kernel, ReplaceRules(rules))
    try:
        assert taken(stranger) == set()
        assert len(taken(member)) == 10
    finally:
        world.two.place.call(do, world.two.kernel, ReplaceRules(Rules()))


def _connections(world: Pair, first: int) -> list[Connection]:
    client, server = world.client.address(4), world.servers[1].place.address(4)
    return [
        Connection(Protocol.TCP, client, port, VIP[4], PORT, server, PORT, ESTABLISHED, 900)
        for port in range(first, first + 10)
    ]


def _send(messages: Iterable[bytes]) -> None:
    index = struct.pack("4s4si", bytes(4), bytes(4), socket.if_nametoindex("eth0"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, index)
        for one in messages:
            sender.sendto(one, (str(ip_address("224.0.0.81")), RECEIVER.port))
