"""Connections that were read from one director's kernel and handed to another's go on there.

Real traffic between network namespaces. Collected only with VS_CONTRACT=netlink.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address

import pytest

from contract.machines import PORT, VIP
from contract.pairs import IPIP, RECEIVER, Pair, await_, keys, pair, table
from contract.places import SctpEcho, associate
from virtualserver.kernel.injection import inject
from virtualserver.model.connections import ESTABLISHED, Connection
from virtualserver.model.types import ForwardingMethod, Protocol, State, Tunnel, TunnelType
from virtualserver.plan.mirroring import taker


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("records")) as made:
        yield made


def taken(found: Iterable[Connection], world: Pair) -> list[Connection]:
    """What a director takes over of another's."""
    take = taker(world.services)
    return [one for each in found if (one := take(each)) is not None]


@pytest.fixture
def world(both: Pair) -> Iterator[Pair]:
    yield both
    both.clean()


@pytest.mark.parametrize(
    ("method", "tunnel"),
    [
        (ForwardingMethod.NAT, IPIP),
        (ForwardingMethod.DIRECT_ROUTING, IPIP),
        (ForwardingMethod.TUNNEL, IPIP),
        (ForwardingMethod.TUNNEL, Tunnel(TunnelType.GUE, 6080)),
        (ForwardingMethod.TUNNEL, Tunnel(TunnelType.GRE)),
    ],
    ids=lambda one: one.name if isinstance(one, ForwardingMethod) else one.type.name,
)
def test_idle_connections_are_carried_over_by_their_entries_alone(
    world: Pair, method: ForwardingMethod, tunnel: Tunnel
) -> None:
    """No sender runs, nobody mirrors: the returning director asks, injects, and takes over."""
    world.set_up(method, tunnel=tunnel)
    sockets = world.connect(10)
    found = [one for one in table(world.one) if one.state == ESTABLISHED]
    assert len(found) == len(sockets)
    assert world.kept(world.one) == 20

    world.start(world.two, RECEIVER)
    left_out = {one.client_port for one in found[::5]}
    handed = [one for one in found if one.client_port not in left_out]
    world.two.place.call(inject, taken(handed, world), RECEIVER)
    await_(lambda: keys(table(world.two)) == keys(handed))
    assert {(one.state, one.synced) for one in table(world.two)} == {(ESTABLISHED, True)}
    ends = {one[:7]: one.expires for one in found}
    assert all(abs(ends[one[:7]] - one.expires) <= 5 for one in table(world.two))

    world.move()
    assert world.survivors(sockets) == {one for one in sockets if one.getsockname()[1] not in left_out}


def test_sctp_associations_are_carried_over(world: Pair) -> None:
    world.set_up(ForwardingMethod.DIRECT_ROUTING, protocol=Protocol.SCTP)
    with ExitStack() as stack:
        for server in world.servers:
            stack.enter_context(SctpEcho(server.place, VIP[4], PORT))
        sockets = [world.client.call(associate, VIP[4], PORT) for _ in range(10)]
        world.sockets += sockets
        found = [one for one in table(world.one) if one.state == ESTABLISHED]
        assert len(found) == len(sockets)
        world.start(world.two, RECEIVER)
        left_out = found[0].client_port
        world.two.place.call(inject, taken(found[1:], world), RECEIVER)
        await_(lambda: keys(table(world.two)) == keys(found[1:]))
        world.move()
        assert world.survivors(sockets) == {one for one in sockets if one.getsockname()[1] != left_out}


def test_udp_clients_stay_with_their_real_servers(world: Pair) -> None:
    world.set_up(ForwardingMethod.DIRECT_ROUTING, protocol=Protocol.UDP)
    for _ in range(10):
        client = world.client.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        client.connect((str(VIP[4]), PORT))
        client.send(b"first")
        world.sockets.append(client)
    found = table(world.one)
    assert len(found) == len(world.sockets)
    world.start(world.two, RECEIVER)
    world.two.place.call(inject, taken(found, world), RECEIVER)
    await_(lambda: keys(table(world.two)) == keys(found))
    world.move()
    for client in random.sample(world.sockets, len(world.sockets)):
        client.send(str(client.getsockname()[1]).encode())
    for server, echo in zip(world.servers, world.echoes, strict=True):
        theirs = {str(one.client_port).encode() for one in found if one.server == server.place.address(4)}
        assert theirs
        await_(lambda: echo.received - {b"first"} == theirs)  # noqa: B023 - called at once


def test_persistence_is_carried_over_by_its_templates(world: Pair) -> None:
    """Clients come back through the other director and meet the real servers that they had met before."""
    world.set_up(ForwardingMethod.DIRECT_ROUTING, persistence=300)
    clients = world.more_clients(6)
    world.connect_from(clients)
    found = table(world.one)
    templates = {one.client: one.server for one in found if one.template}
    assert len(templates) == len(clients)

    world.start(world.two, RECEIVER)
    world.two.place.call(inject, taken(found, world), RECEIVER)
    await_(lambda: keys(table(world.two)) == keys(found))
    world.move()
    world.connect_from(random.sample(clients, len(clients)))
    after = table(world.two)
    assert {one.client: one.server for one in after if one.template} == templates
    ours = [one for one in after if not one.synced]
    assert len(ours) == len(clients)
    assert {one.client: one.server for one in ours} == templates


def test_a_template_lasts_as_long_as_if_it_were_of_ones_own(world: Pair) -> None:
    """The kernel knows a persistence timeout only of templates that it made; each connection renews what they say."""
    world.set_up(ForwardingMethod.DIRECT_ROUTING, persistence=60)
    world.connect(1)
    aged = [one._replace(expires=3) if one.template else one for one in table(world.one)]
    world.start(world.two, RECEIVER)
    world.two.place.call(inject, taken(aged, world), RECEIVER)
    await_(lambda: keys(table(world.two)) == keys(aged))
    assert {one.expires > 50 for one in table(world.two) if one.template} == {True}


class TestForgetting:
    """A director whose term has ended takes its services out while ``expire_nodest_conn`` is 1."""

    def test_all_entries_of_ones_own_go_at_once_templates_too(self, world: Pair) -> None:
        world.set_up(ForwardingMethod.DIRECT_ROUTING, persistence=300)
        world.connect(3)
        assert world.kept(world.one) == 8
        world.forget(world.one)
        began = time.monotonic()
        await_(lambda: not world.kept(world.one))
        assert time.monotonic() - began < 3

    def test_what_is_mirrored_while_the_services_are_out_stays(self, world: Pair) -> None:
        """It is bound to no real server, so nothing ends it, and it would go out by NAT: first stop the receiver."""
        world.set_up(ForwardingMethod.DIRECT_ROUTING)
        world.connect(2)
        found = table(world.one)
        world.start(world.two, RECEIVER)
        world.forget(world.two)
        world.two.place.call(inject, found, RECEIVER)
        await_(lambda: world.kept(world.two) == len(found))
        time.sleep(1)
        assert world.kept(world.two) == len(found)
        world.two.bring(State(world.services))  # programmed again, and taken: now it is bound
        world.two.place.call(inject, found, RECEIVER)
        time.sleep(0.5)


@pytest.mark.parametrize("group", ["224.0.0.81", "ff02::81"])
def test_what_is_injected_stays_on_the_node(world: Pair, group: str) -> None:
    world.set_up(ForwardingMethod.DIRECT_ROUTING)
    receiver = replace(RECEIVER, group=ip_address(group))
    world.start(world.one, receiver)
    world.start(world.two, receiver)
    vip = VIP[4]
    handed = [
        Connection(Protocol.TCP, world.client.address(4), port, vip, PORT, world.servers[0].place.address(4), PORT,
                   ESTABLISHED, 900)
        for port in range(1000, 1600)
    ]  # fmt: skip
    world.two.place.call(inject, handed, receiver)
    await_(lambda: keys(table(world.two)) == keys(handed))
    assert table(world.one) == []
