"""Network namespaces as machines on one segment, and the programs of a client and a real server in them.

with segment_of_all(), Place("client", 2) as one:
    one.run("ip route"); one.call(function)    # both in its namespace
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from contract.worlds import run
from virtualserver.model.types import IPAddress

_CLONE_NEWNET = 0x40000000
_BRIDGE = "br-places"
_SEGMENT = {4: ("198.18.0.", "/24"), 6: ("fd00:18::", "/64")}
P = ParamSpec("P")
R = TypeVar("R")


def address_of(number: int, version: int) -> IPAddress:
    """Return a machine's address on the segment."""
    return ip_address(f"{_SEGMENT[version][0]}{number}")


@contextmanager
def segment_of_all() -> Iterator[None]:
    """Lay the segment that places join."""
    run(f"ip link add {_BRIDGE} type bridge mcast_snooping 0 && ip link set {_BRIDGE} up")
    try:
        yield
    finally:
        run(f"ip link del {_BRIDGE}")


class Place:
    """A namespace with a thread that lives in it; without a ``number`` no link leads there yet."""

    def __init__(self, name: str, number: int | None = None) -> None:
        self.name, self._number, self._cable = f"place-{name}", number, f"p-{name}"

    def __enter__(self) -> Self:
        run(f"ip netns add {self.name}")
        self.run("ip link set lo up")
        for scope in ("all", "default"):
            self.sysctl(f"net/ipv6/conf/{scope}/accept_dad", 0)
            self.sysctl(f"net/ipv6/conf/{scope}/router_solicitations", 0)
        if self._number is not None:
            self._join_segment()
        self._thread = ThreadPoolExecutor(1, initializer=_enter, initargs=(self.name,))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        run(f"ip link del {self._cable} 2>/dev/null; ip netns del {self.name}")

    def run(self, command: str) -> str:
        """Run a shell command there."""
        return run(f"ip netns exec {self.name} sh -c '{command}'")

    def call(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Call a function in the thread that lives there; sockets that it opens belong there."""
        return self._thread.submit(function, *arguments, **named).result(60)

    def sysctl(self, name: str, value: int) -> None:
        """Write a setting by its path below /proc/sys."""
        self.run(f"echo {value} >/proc/sys/{name}")

    def address(self, version: int) -> IPAddress:
        assert self._number is not None
        return address_of(self._number, version)

    def rejoin(self) -> None:
        """Make its link anew, as a network program does that starts again."""
        run(f"ip link del {self._cable}")
        self._join_segment()

    def hardware(self) -> str:
        return self.run("cat /sys/class/net/eth0/address").strip()

    def _join_segment(self) -> None:
        run(f"ip link add {self._cable} type veth peer name eth0 netns {self.name}")
        run(f"ip link set {self._cable} master {_BRIDGE} up")
        addresses = [f"{self.address(version)}{_SEGMENT[version][1]}" for version in (4, 6)]
        self.run(" && ".join(["ip link set eth0 up", *(f"ip addr add {one} dev eth0" for one in addresses)]))


class Echo:
    """A server in a place: over TCP it tells each client which address it sees, then sends back what it gets.

    Over UDP it only notes what arrives, in ``received``.
    """

    def __init__(self, place: Place, port: int) -> None:
        self.received: set[bytes] = set()
        self._listener = place.call(_listener, socket.SOCK_STREAM, port)
        self._datagrams = place.call(_listener, socket.SOCK_DGRAM, port)

    def __enter__(self) -> Self:
        for target in (self._accept, self._note):
            threading.Thread(target=target, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in (self._listener, self._datagrams):
            with suppress(OSError):  # UDP: not connected, but woken all the same
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=_serve, args=(connection, peer[0]), daemon=True).start()

    def _note(self) -> None:
        while True:
            try:
                self.received.add(self._datagrams.recv(2048))
            except OSError:
                return


class SctpEcho:
    """The same over SCTP, at one address: at all of them, clients would know ways that lead past a director."""

    def __init__(self, place: Place, address: IPAddress, port: int) -> None:
        self._listener = place.call(_associations, str(address), port)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                association, peer = self._listener.accept()
                threading.Thread(target=_serve, args=(association, peer[0]), daemon=True).start()


def associate(server: IPAddress, port: int) -> socket.socket:
    """Return an association with a server from which a word has come back."""
    association = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    association.settimeout(3)
    association.connect((str(server), port))
    assert association.recv(100).endswith(b"\n")
    return association


def _associations(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(16)
    return listener


def ask(place: Place, server: IPAddress, port: int, size: int = 200_000) -> tuple[str, int]:
    """Send ``size`` bytes to a server from a place and get them back.

    Returns the address that the server sees, and the longest segment (bytes) that the client may send.
    Raises OSError; TimeoutError after 5 s without progress.
    """
    return place.call(_ask, str(server), port, size)


def _ask(server: str, port: int, size: int) -> tuple[str, int]:
    with socket.create_connection((server, port), timeout=5) as connection:
        segment = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        with connection.makefile("rb") as stream:
            seen = stream.readline().decode().strip()
            data = os.urandom(size)
            sender = threading.Thread(target=connection.sendall, args=(data,), daemon=True)
            sender.start()
            assert stream.read(size) == data
            sender.join(5)
    return seen, segment


def _serve(connection: socket.socket, peer: str) -> None:
    with connection:
        try:
            connection.sendall(f"{peer.removeprefix('::ffff:')}\n".encode())
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            return


def _listener(kind: socket.SocketKind, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("::", port))
    if kind is socket.SOCK_STREAM:
        listener.listen(16)
    return listener


def _enter(name: str) -> None:
    with open(f"/run/netns/{name}") as file:  # noqa: PTH123 - a descriptor is what is needed
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
