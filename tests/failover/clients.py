"""Clients of an echo service that live through a failover and tell what they saw; they run on a host of the lab.

    clients.py hold ADDRESS PORT COUNT [handshake] [ports=FIRST] [patience=SECONDS] [spread=SECONDS] [seed=NUMBER]
    clients.py stream ADDRESS PORT [every=MS] [size=BYTES] [times=FILE] [timers=FILE]
    clients.py datagrams ADDRESS PORT [every=MS] [times=FILE] [lost=FILE]
    clients.py connects ADDRESS PORT [every=MS] [times=FILE]

Each prints lines of JSON: `{"event": "ready", ...}` once it runs, and a summary at its end. `hold` opens connections
and uses each once (not with `handshake`), so their age is up to its caller; on SIGUSR1 it writes one byte on each, in
random order, over `spread` seconds, and counts what came back: echo, reset or silence. All run until SIGTERM. The
others write the times of all answers to `times`; `lost` gets the times at which datagrams were sent that nobody
answered, `timers` after how many seconds the kernel would have sent again what was not answered, for each echo. Times
are those of this guest's clock.

Plain scripts with nothing but the standard library: in a guest every import and every system call costs.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path

LIMIT = 900.0
"""Seconds after which everything ends by itself."""
AT_ONCE = 64
"""Connections that are being opened at a time; a real server's backlog holds many more."""
LATE = 0.3
"""Seconds in which the answers to the last datagrams may come."""
BATCH = 8
"""Connections that are written to one after the other before answers are read."""
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER: a closed connection is forgotten at once by the real server, and in 10 s by the directors."""
TCP_INFO_RTO = struct.Struct("=8xI")
"""Where `struct tcp_info` of linux/tcp.h has `tcpi_rto`, in microseconds."""


def tell(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def tcp(address: str) -> socket.socket:
    link = socket.socket(family(address), socket.SOCK_STREAM)
    link.setblocking(False)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    return link


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that at least that many of a hundred do not exceed."""
    ordered = sorted(values)
    return round(ordered[max(0, -int(-len(ordered) * percent // 100) - 1)], 4) if ordered else 0.0


# -- many connections ---------------------------------------------------------------------------------------------


class Hold:
    """Many connections at once; `opened` has those that stand, by file descriptor."""

    def __init__(self, address: str, port: int, count: int, options: dict[str, str]) -> None:
        self.target = (address, port)
        self.count = count
        self.handshake = "handshake" in options
        self.first = int(options.get("ports", 0))
        self.patience = float(options.get("patience", 8))
        self.spread = float(options.get("spread", 0))
        self.random = random.Random(int(options["seed"]) if "seed" in options else None)
        self.epoll = select.epoll()
        self.opened: dict[int, socket.socket] = {}
        self.failed: list[str] = []
        self.written: dict[int, float] = {}
        """When those were written to that have not answered yet."""
        self.timers: dict[int, float] = {}
        """After how many seconds the kernel would send again what was written."""
        self.pauses: list[float] = []
        self.slowest = (0.0, 0.0)
        """The longest of these, and the timer of that connection."""
        self.reset = 0

    def run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
        began = time.monotonic()
        self.open()
        tell(event="ready", opened=len(self.opened), failed=self.failed[:3], seconds=round(time.monotonic() - began, 3))
        got = signal.sigtimedwait([signal.SIGUSR1, signal.SIGTERM], LIMIT)
        if got is not None and got.si_signo == signal.SIGUSR1:
            tell(**self.use())
            signal.sigtimedwait([signal.SIGTERM], LIMIT)  # all closed at once would hold up whoever still measures
        for link in self.opened.values():
            link.close()

    def open(self) -> None:
        waiting: dict[int, socket.socket] = {}
        left = list(range(self.count))
        ends = time.monotonic() + 60
        while (left or waiting) and time.monotonic() < ends:
            while left and len(waiting) < AT_ONCE:
                link = self.start(left.pop(0))
                waiting[link.fileno()] = link
                self.epoll.register(link.fileno(), select.EPOLLOUT)
            for descriptor, event in self.epoll.poll(1):
                self.advance(descriptor, event, waiting)
        self.failed += ["never opened"] * (len(waiting) + len(left))

    def start(self, number: int) -> socket.socket:
        link = tcp(self.target[0])
        if self.first:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            link.bind(("", self.first + number))
        link.connect_ex(self.target)
        return link

    def advance(self, descriptor: int, event: int, waiting: dict[int, socket.socket]) -> None:
        """One step of a connection that is being opened: connected, or its first echo is there."""
        link = waiting[descriptor]
        if event & select.EPOLLOUT and not self.handshake and not event & (select.EPOLLERR | select.EPOLLHUP):
            link.send(b"a")
            self.epoll.modify(descriptor, select.EPOLLIN)
            return
        del waiting[descriptor]
        self.epoll.unregister(descriptor)
        try:
            if error := link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, os.strerror(error))
            if event & select.EPOLLIN and link.recv(16) != b"a":
                raise OSError(0, "ended")
            self.opened[descriptor] = link
        except OSError as error:
            self.failed.append(str(error))
            link.close()

    def use(self) -> dict[str, object]:
        """One byte on each in random order; what came back, and how long each took."""
        order = list(self.opened)
        self.random.shuffle(order)
        began, start = time.time(), time.monotonic()
        for number, descriptor in enumerate(order):
            if number % BATCH == 0:
                due = start + self.spread * number / len(order)
                self.gather(due)
                time.sleep(max(0.0, due - time.monotonic()))
            self.write(descriptor)
        took = time.monotonic() - start
        self.gather(time.monotonic() + self.patience)
        shown = {f"p{percent}": percentile(self.pauses, percent) for percent in (50, 99)}
        counts = {"echo": len(self.pauses), "reset": self.reset, "silence": len(self.written)}
        longest, timer = (round(one, 4) for one in self.slowest)
        times = {"longest": longest, "timer": timer, "began": round(began, 4), "writing": round(took, 3)}
        return {"event": "used", **counts, **times, **shown}

    def write(self, descriptor: int) -> None:
        try:
            self.timers[descriptor] = timer(self.opened[descriptor])
            self.opened[descriptor].send(b"b")
            self.epoll.register(descriptor, select.EPOLLIN)
            self.written[descriptor] = time.monotonic()
        except OSError:
            self.reset += 1

    def gather(self, until: float) -> None:
        """Read what is there, and go on until that time or until nothing is awaited any more."""
        left = 0.0
        while self.written:
            for descriptor, _ in self.epoll.poll(left):
                self.epoll.unregister(descriptor)
                began = self.written.pop(descriptor)
                with contextlib.suppress(OSError):
                    if self.opened[descriptor].recv(16) == b"b":
                        self.pauses.append(time.monotonic() - began)
                        self.slowest = max(self.slowest, (self.pauses[-1], self.timers[descriptor]))
                        continue
                self.reset += 1
            if (left := until - time.monotonic()) <= 0:
                return


# -- one long-lived flow ------------------------------------------------------------------------------------------


class Arrivals:
    """When something arrived; with the option `times` all of them go to that file."""

    def __init__(self, options: dict[str, str]) -> None:
        self.times: list[float] = []
        self.file = options.get("times")

    def note(self) -> None:
        self.times.append(time.time())

    def summary(self) -> dict[str, object]:
        if self.file:
            Path(self.file).write_text(json.dumps([round(at, 4) for at in self.times]))
        gaps = [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]
        return {"answers": len(self.times), "longest": percentile(gaps, 100)}


class Stopped:
    """Becomes true on SIGTERM, or when the time is over."""

    def __init__(self) -> None:
        self.asked = False
        self.ends = time.monotonic() + LIMIT
        signal.signal(signal.SIGTERM, self.ask)

    def ask(self, *_: object) -> None:
        self.asked = True

    def __bool__(self) -> bool:
        return self.asked or time.monotonic() > self.ends


def stream(address: str, port: int, options: dict[str, str]) -> None:
    """One connection; a message every so many milliseconds, the next one not before the last has come back."""
    stop, seen = Stopped(), Arrivals(options)
    every, message = float(options.get("every", 5)) / 1000, b"s" * int(options.get("size", 1000))
    timers: list[float] = []
    with tcp(address) as link:
        link.settimeout(10)
        link.connect((address, port))
        tell(event="ready")
        broken = ""
        while not stop and not broken:
            began = time.monotonic()
            try:
                link.sendall(message)
                broken = receive(link, len(message), stop)
            except OSError as error:
                broken = f"{type(error).__name__} {error}"
            if not broken:
                seen.note()
                timers.append(timer(link))
                time.sleep(max(0.0, began + every - time.monotonic()))
    if file := options.get("timers"):
        Path(file).write_text(json.dumps(timers))
    tell(event="stream", broken="" if stop else broken, size=len(message), **seen.summary())


def timer(link: socket.socket) -> float:
    """Seconds after which the kernel sends again what was not answered: 0.2 and what round trips take and vary by."""
    microseconds: int = TCP_INFO_RTO.unpack(link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_RTO.size))[0]
    return microseconds / 1e6


def receive(link: socket.socket, size: int, stop: Stopped) -> str:
    """Wait for that many bytes; returns what went wrong."""
    while size:
        part = link.recv(size)
        if not part:
            return "ended"
        size -= len(part)
        if stop:
            return "stopped"
    return ""


def datagrams(address: str, port: int, options: dict[str, str]) -> None:
    """One UDP datagram every so many milliseconds from one socket, whether answers come or not."""
    stop, seen = Stopped(), Arrivals(options)
    every, sent = float(options.get("every", 5)) / 1000, 0
    waiting: dict[bytes, float] = {}
    with socket.socket(family(address), socket.SOCK_DGRAM) as link:
        link.setblocking(False)
        link.connect((address, port))
        poll = select.poll()
        poll.register(link, select.POLLIN)
        tell(event="ready")
        due = time.monotonic()
        while not stop:
            if (now := time.monotonic()) >= due:
                due, sent = max(due + every, now), sent + 1
                waiting[b"%d" % sent] = time.time()
                with contextlib.suppress(OSError):
                    link.send(b"%d" % sent)
            if poll.poll(max(0.0, due - time.monotonic()) * 1000):
                with contextlib.suppress(OSError):
                    waiting.pop(link.recv(64), None)
                    seen.note()
        ends = time.monotonic() + LATE
        while poll.poll(max(0.0, ends - time.monotonic()) * 1000):
            with contextlib.suppress(OSError):
                waiting.pop(link.recv(64), None)
                seen.note()
    if file := options.get("lost"):
        Path(file).write_text(json.dumps([round(at, 4) for at in waiting.values()]))
    tell(event="datagrams", sent=sent, **seen.summary())


def connects(address: str, port: int, options: dict[str, str]) -> None:
    """A new connection every so many milliseconds, whether the last one stands or not."""
    stop, seen = Stopped(), Arrivals(options)
    every, begun, refused = float(options.get("every", 20)) / 1000, 0, 0
    open_: dict[int, tuple[socket.socket, float]] = {}
    waits: list[float] = []
    epoll = select.epoll()
    tell(event="ready")
    due = time.monotonic()
    while not stop:
        if (now := time.monotonic()) >= due:
            due, begun = max(due + every, now), begun + 1
            link = tcp(address)
            link.connect_ex((address, port))
            open_[link.fileno()] = (link, now)
            epoll.register(link.fileno(), select.EPOLLOUT)
        with contextlib.suppress(InterruptedError):
            for descriptor, _ in epoll.poll(max(0.0, due - time.monotonic())):
                epoll.unregister(descriptor)
                link, started = open_.pop(descriptor)
                if link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    refused += 1
                else:
                    seen.note()
                    waits.append(time.monotonic() - started)
                link.close()
    waited = {"wait": percentile(waits, 100), "refused": refused, "open": len(open_)}
    tell(event="connects", begun=begun, **waited, **seen.summary())


def main(kind: str, address: str, port: int, rest: list[str]) -> None:
    options = dict(word.partition("=")[::2] for word in rest if not word.isdigit())
    if kind == "hold":
        Hold(address, port, int(rest[0]), options).run()
    else:
        {"stream": stream, "datagrams": datagrams, "connects": connects}[kind](address, port, options)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
