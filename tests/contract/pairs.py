"""Two directors and two real servers on one segment, and a client whose connections move from one to the other."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

from contract.build import do
from contract.machines import KEY, PORT, VIP, Node, receiving
from contract.places import Echo, Place, segment_of_all
from virtualserver.agent.record import Record
from virtualserver.kernel import connections
from virtualserver.kernel.netlink import Netlink
from virtualserver.model.addresses import IPAddress
from virtualserver.model.connections import Connection
from virtualserver.model.failover import SyncDaemon, SyncRole
from virtualserver.model.operations import StartDaemon, StopDaemon
from virtualserver.model.types import (
    DestinationContent,
    DestinationKey,
    ForwardingMethod,
    LinkAddress,
    Protocol,
    Service,
    ServiceContent,
    State,
    Tunnel,
)
from virtualserver.plan.mirroring import MESSAGE, TICK, TICK_SERVICE
from virtualserver.plan.tunnels import Way

SENDER = SyncDaemon(SyncRole.SENDER, "eth0", 51, ip_address("224.0.0.81"), 8848, MESSAGE)
RECEIVER = SyncDaemon(SyncRole.RECEIVER, "eth0", 0, ip_address("224.0.0.81"), 8848)
GATEWAY = {4: ip_address("198.18.0.1"), 6: ip_address("fd00:18::1")}
IPIP = Tunnel()


@dataclass
class Pair:
    """``one`` holds the addresses at first; both have the same services."""

    client: Place
    one: Node
    two: Node
    servers: Sequence[Node]
    echoes: Sequence[Echo]
    sockets: list[socket.socket] = field(default_factory=list)

    def set_up(
        self,
        method: ForwardingMethod,
        persistence: int = 0,
        scheduler: str = "rr",
        tunnel: Tunnel = IPIP,
        protocol: Protocol = Protocol.TCP,
    ) -> None:
        """Program both directors and the servers; without ``sloppy_tcp``, so that who has no entry has nothing."""
        keys = [replace(KEY[version], protocol=protocol) for version in (4, 6)]
        content = DestinationContent(1, method, tunnel=tunnel)
        self.services = {key: self._service(key.address.version, content, persistence, scheduler) for key in keys}
        self.services[TICK] = TICK_SERVICE
        self._set_up_servers(method, tunnel)
        self.two.bring(State(self.services))
        self.one.bring(State(self.services, self._held()))

    def move(self) -> None:
        """The first director dies, the second takes over."""
        self.one.place.run("ip link set eth0 down")
        self.two.bring(State(self.services, self._held()))

    def clean(self) -> None:
        """Put all of it back; connections end as a director that steps down ends them (``research``: finding 13)."""
        for connection in self.sockets:
            connection.close()
        self.sockets.clear()
        self.one.place.run("ip link set eth0 up && ip addr add fd00:18::11/64 dev eth0 || true")
        for node in (self.one, self.two):
            self.stop(node, *node.read(State()).daemons)
            self.forget(node)
            await_(lambda: not self.kept(node))  # noqa: B023 - called at once
            node.place.sysctl("net/ipv4/vs/expire_nodest_conn", 0)
        for server in self.servers:
            server.clean()
            server.place.run("ip route flush root 198.18.0.2/32; ip -6 route flush root fd00:18::2/128")

    def forget(self, node: Node) -> None:
        """Take a director's services and addresses out, and its connections with them."""
        node.place.sysctl("net/ipv4/vs/expire_nodest_conn", 1)
        node.clean()

    def start(self, node: Node, *daemons: SyncDaemon) -> None:
        node.place.call(do, node.kernel, *(StartDaemon(one) for one in daemons))

    def stop(self, node: Node, *daemons: SyncDaemon) -> None:
        node.place.call(do, node.kernel, *(StopDaemon(one.role) for one in daemons))

    def mirror(self, sender: SyncDaemon = SENDER) -> None:
        """Let the second director have the first one's connections, with our settings."""
        for node in (self.one, self.two):
            node.place.run("cd /proc/sys/net/ipv4/vs && echo 0 1 >sync_threshold && echo 10 >sync_refresh_period")
            node.place.sysctl("net/ipv4/vs/sync_retries", 2)
            node.place.sysctl("net/ipv4/vs/sync_sock_size", 1 << 20)
        self.start(self.two, RECEIVER)
        self.start(self.one, sender)

    def connect(self, count: int, versions: Iterable[int] = (4, 6)) -> list[socket.socket]:
        """Open so many connections of each version; each has heard from its real server."""
        opened = [self.client.call(_connect, VIP[version]) for version in versions for _ in range(count)]
        self.sockets += opened
        return opened

    def kept(self, node: Node) -> int:
        """Return how many entries a director's kernel says that it keeps for the virtual addresses."""
        return node.place.call(node.kernel.connections, frozenset(VIP.values()))

    def more_clients(self, count: int) -> list[IPAddress]:
        """Give the client more addresses, of both versions in turn, and return them."""
        made = [ip_address(f"{('198.18.0.', 'fd00:18::')[number % 2]}{201 + number}") for number in range(count)]
        for one in made:
            self.client.run(f"ip addr replace {one}/{24 if one.version == 4 else 64} dev eth0")
        return made

    def connect_from(self, clients: Iterable[IPAddress]) -> None:
        """Open a connection from each of these addresses."""
        self.sockets += [self.client.call(_connect, VIP[one.version], str(one)) for one in clients]

    def survivors(self, sockets: Sequence[socket.socket]) -> set[socket.socket]:
        """Return those through which a word still comes back, asked in random order."""
        return {one for one in random.sample(sockets, len(sockets)) if _echoes(one)}

    def _service(self, version: int, wanted: DestinationContent, persistence: int, scheduler: str) -> Service:
        servers = [DestinationKey(one.place.address(version), PORT) for one in self.servers]
        content = ServiceContent(scheduler, frozenset(), persistence, VIP[version].max_prefixlen)
        return Service(content, dict.fromkeys(servers, wanted))

    def _set_up_servers(self, method: ForwardingMethod, tunnel: Tunnel) -> None:
        for server in self.servers:
            if method is ForwardingMethod.NAT:
                for version in (4, 6):
                    target = f"{self.client.address(version)}/{VIP[version].max_prefixlen}"
                    server.place.run(f"ip route add {target} via {GATEWAY[version]}")
                continue
            ways = [
                Way(tunnel, version, node.place.address(version), server.place.address(version))
                for version in (4, 6)
                for node in (self.one, self.two)
            ]
            server.bring(receiving(ways if method is ForwardingMethod.TUNNEL else ()))

    def _held(self) -> frozenset[LinkAddress]:
        vips = [LinkAddress("eth0", vip, vip.max_prefixlen) for vip in VIP.values()]
        return frozenset([*vips, *(LinkAddress("eth0", one, one.max_prefixlen) for one in GATEWAY.values())])


@contextmanager
def pair(folder: Path) -> Iterator[Pair]:
    """Make them; ``folder`` keeps the records."""
    with ExitStack() as stack:
        stack.enter_context(segment_of_all())
        names = (("client", 2), ("one", 11), ("two", 12), ("rs-1", 21), ("rs-2", 22))
        client, *rest = (stack.enter_context(Place(name, number)) for name, number in names)
        nodes = [
            Node(place, place.call(Netlink), Record(folder / place.name), rules=place in rest[2:]) for place in rest
        ]
        for node in nodes:
            stack.callback(node.kernel.close)
        one, two, *servers = nodes
        one.rules = two.rules = False  # a director has none here, and each look costs processes
        for director in (one, two):
            for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
                director.place.sysctl(name, 1)
            for name in ("all", "eth0"):
                director.place.sysctl(f"net/ipv4/conf/{name}/send_redirects", 0)
        for server in servers:
            # All are on one segment here: a director would tell them the way past itself.
            server.place.sysctl("net/ipv6/conf/eth0/accept_redirects", 0)
        echoes = [stack.enter_context(Echo(server.place, PORT)) for server in servers]
        yield Pair(client, one, two, servers, echoes)


def table(node: Node) -> list[Connection]:
    """Return a director's connections."""
    return node.place.call(lambda: list(connections.read()))


def keys(found: Iterable[Connection]) -> set[tuple[object, ...]]:
    """Return what is the same of a connection on every director."""
    return {one[:7] for one in found}


def await_(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until something is so."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it does not come"
        time.sleep(0.02)


_PORTS = iter(random.sample(range(20000, 60000), 40000))
"""In random order, for the schedulers that look at them; none twice, for it may still be in use."""


def _connect(server: IPAddress, source: str = "") -> socket.socket:
    connection = socket.create_connection((str(server), PORT), timeout=3, source_address=(source, next(_PORTS)))
    assert connection.recv(100).endswith(b"\n")
    return connection


def _echoes(connection: socket.socket) -> bool:
    try:
        connection.settimeout(1.5)
        connection.sendall(b"still?")
        return connection.recv(100) == b"still?"
    except OSError:
        return False
