"""What a real server of the lab serves: three services in one small program.

    web      HTTP on port 80        web-alt  HTTP on port 8080        echo  TCP, UDP and SCTP on port 7

HTTP answers one line, the server's name and the client address it sees: `rs-1 198.18.0.2`. `/slow?seconds=2`
answers that much later. Both families. A service is stopped, started or muted (it accepts, but never answers)
over a Unix socket that `service-ctl` talks to, also in HTTP.

Runs inside a guest as a plain script; asyncio protocols instead of streams, because system calls cost there.
"""

import asyncio
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import cast

IP_PKTINFO = 8
"""Linux; the socket module has no name for it before Python 3.12."""
SCTP = 132
"""IPPROTO_SCTP, missing where Python was built without its header."""
ANY = ("0.0.0.0", "::")


class Web(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as far as a test client needs it: requests without a body."""

    def __init__(self, service: "Service") -> None:
        self.service = service
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.service.connections.add(self.transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self.service.connections.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while not self.service.mute and b"\r\n\r\n" in self.buffer:
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            method, path, *_ = head.decode("latin-1").split(" ", 2)
            delay = float(path.partition("seconds=")[2] or 0) if path.startswith("/slow") else 0.0
            last = b"connection: close" in head.lower()
            if delay:
                asyncio.get_running_loop().call_later(delay, self.answer, method, last)
            else:
                self.answer(method, last)

    def answer(self, method: str, last: bool) -> None:
        if self.transport.is_closing():
            return
        body = f"{self.service.host} {self.transport.get_extra_info('peername')[0]}\n".encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        closing = "Connection: close\r\n" if last else ""
        self.transport.write(f"{head}{closing}\r\n".encode() + (b"" if method == "HEAD" else body))
        if last:
            self.transport.close()


class Echo(asyncio.Protocol):
    """Sends back what it gets, over TCP or SCTP."""

    def __init__(self, service: "Service") -> None:
        self.service = service

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.service.connections.add(self.transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self.service.connections.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        if not self.service.mute:
            self.transport.write(data)


class EchoDatagram:
    """Sends back what it gets, over UDP, from the very address it came to: with direct routing the answer has
    to leave with the VIP as its source, so the socket asks for and sets that address (IP_PKTINFO)."""

    def __init__(self, service: "Service", address: str) -> None:
        self.service = service
        six = ":" in address
        self.socket = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        if six:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            self.socket.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self.socket.bind((address, service.port))
        asyncio.get_running_loop().add_reader(self.socket, self.readable)

    def readable(self) -> None:
        try:
            data, ancillary, _, peer = self.socket.recvmsg(65536, 256)
            if not self.service.mute:
                self.socket.sendmsg([data], [answer_from(*message) for message in ancillary], 0, peer)
        except OSError:
            pass  # an answer that cannot leave is a lost datagram

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.socket)
        self.socket.close()


def answer_from(level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
    """Turn "it arrived at this address on that link" into "send from this address, on whichever link"."""
    if level == socket.IPPROTO_IPV6:
        return level, kind, data[:16] + struct.pack("=I", 0)
    _, _, destination = struct.unpack("=I4s4s", data)
    return level, kind, struct.pack("=I4s4s", 0, destination, destination)


def sctp(address: str, port: int) -> socket.socket:
    """A listening SCTP socket, used like one of TCP (RFC 6458, one-to-one style)."""
    six = ":" in address
    made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM, SCTP)
    made.setblocking(False)
    if six:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    return made


def sctp_addresses(host: str) -> tuple[str, ...]:
    """Where SCTP listens: anywhere, but a real server behind a NAT at each of its addresses by itself.

    A socket that is bound to all of them answers from the one that is nearest to the client, past the director.
    """
    if not host.startswith("rs-"):
        return ANY
    shown = subprocess.run(
        ["ip", "-o", "address", "show", "scope", "global"], capture_output=True, text=True, check=True
    )
    return tuple(line.split()[3].partition("/")[0] for line in shown.stdout.splitlines())


class Service:
    """One service that can be up or down; down means that its port refuses connections."""

    def __init__(self, host: str, port: int, protocol: Callable[["Service"], asyncio.Protocol], every: bool) -> None:
        self.host = host
        self.port = port
        self.protocol = protocol
        self.every = every
        self.mute = False
        self.hanging = False
        """Packets to the port are dropped; `service-ctl` does that, here it is only known."""
        self.connections: set[asyncio.Transport] = set()
        self.listeners: list[asyncio.Server | EchoDatagram] = []

    async def start(self) -> None:
        self.mute = self.hanging = False
        if self.listeners:
            return
        loop = asyncio.get_running_loop()
        for address in ANY:
            server = await loop.create_server(
                lambda: self.protocol(self), address, self.port, backlog=1024, reuse_address=True
            )
            self.listeners.append(server)
            if self.every:
                self.listeners.append(EchoDatagram(self, address))
        for address in sctp_addresses(self.host) if self.every else ():
            self.listeners.append(await loop.create_server(lambda: self.protocol(self), sock=sctp(address, self.port)))

    async def stop(self) -> None:
        """As if the program had been killed: nobody listens, established connections end."""
        for listener in self.listeners:
            listener.close()
        self.listeners.clear()
        for transport in list(self.connections):
            transport.abort()

    @property
    def state(self) -> str:
        if not self.listeners:
            return "stopped"
        return "hanging" if self.hanging else "mute" if self.mute else "running"


class Control:
    """`GET /<verb>/<service>` on the control socket; the answer is what `service-ctl` prints."""

    def __init__(self, services: dict[str, Service]) -> None:
        self.services = services

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        verb, _, name = request.split(" ")[1].strip("/").partition("/")
        text = "".join([await self.act(verb, one) for one in ([name] if name else self.services)])
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode())
        writer.close()

    async def act(self, verb: str, name: str) -> str:
        service = self.services[name]
        if verb in ("stop", "restart"):
            await service.stop()
        if verb in ("start", "restart"):
            await service.start()
        service.mute |= verb == "mute"
        service.hanging |= verb == "hang"
        return f"{name} {service.state} (port {service.port})\n"


async def main(host: str, control: str) -> None:
    services = {
        "web": Service(host, 80, Web, every=False),
        "web-alt": Service(host, 8080, Web, every=False),
        "echo": Service(host, 7, Echo, every=True),
    }
    for service in services.values():
        await service.start()
    server = await asyncio.start_unix_server(Control(services).handle, control)
    print(f"{host}: serving", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
