"""Clients that run on a host of the lab and tell at the end what they saw, as one line of JSON.

    load.py hold ADDRESS PORT COUNT [SCTP]   keep COUNT connections to an echo service, use each all the time
    load.py idle ADDRESS PORT COUNT    keep COUNT connections to an echo service, use each when it begins and at the end
    load.py fetch ADDRESS PORT         one HTTP request after the other, each on a new connection
    load.py flow ADDRESS PORT          one UDP datagram after the other to an echo service, all from one socket

All print "ready" once they run, and end with a summary on SIGTERM or after 400 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import time
from collections import Counter

LIMIT = 400.0
PATIENCE = 30.0
"""Seconds without an answer after which a connection counts as broken."""


SCTP = 132
"""IPPROTO_SCTP, missing where Python was built without its header."""


async def main(mode: str, address: str, port: int, count: int, protocol: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    asyncio.get_running_loop().call_later(LIMIT, stop.set)
    if mode == "hold":
        summary = await hold(address, port, count, protocol, stop)
    elif mode == "idle":
        summary = await idle(address, port, count, stop)
    else:
        summary = await (fetch if mode == "fetch" else flow)(address, port, stop)
    print(json.dumps(summary), flush=True)


async def opened(address: str, port: int, protocol: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if protocol != "SCTP":
        return await asyncio.wait_for(asyncio.open_connection(address, port), 10)
    link = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, SCTP)
    link.settimeout(10)
    link.connect((address, port))  # asyncio knows no addresses of SCTP, but uses what is connected
    link.setblocking(False)
    return await asyncio.open_connection(sock=link)


async def hold(address: str, port: int, count: int, protocol: str, stop: asyncio.Event) -> dict[str, object]:
    streams = [await opened(address, port, protocol) for _ in range(count)]
    print("ready", flush=True)
    broken: list[str] = []
    longest = 0.0
    echoes = 0

    async def use(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal longest, echoes
        serial = 0
        while not stop.is_set():
            serial += 1
            line = f"{number} {serial}\n".encode()
            started = time.monotonic()
            try:
                writer.write(line)
                answer = await asyncio.wait_for(reader.readline(), PATIENCE)
            except (OSError, TimeoutError) as error:
                broken.append(f"{number}: {type(error).__name__} {error}")
                return
            if answer != line:
                broken.append(f"{number}: got {answer!r}")
                return
            echoes += 1
            longest = max(longest, time.monotonic() - started)
            await asyncio.sleep(0.2)

    await asyncio.gather(*(use(number, *pair) for number, pair in enumerate(streams)))
    for _, writer in streams:
        writer.close()
    return {"connections": count, "broken": broken, "longest": round(longest, 3), "echoes": echoes}


async def idle(address: str, port: int, count: int, stop: asyncio.Event) -> dict[str, object]:
    streams = [await asyncio.wait_for(asyncio.open_connection(address, port), 10) for _ in range(count)]
    broken: list[str] = []

    async def use(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = f"{number}\n".encode()
        try:
            writer.write(line)
            answer = await asyncio.wait_for(reader.readline(), PATIENCE)
        except (OSError, TimeoutError) as error:
            broken.append(f"{number}: {type(error).__name__} {error}")
            return
        if answer != line:
            broken.append(f"{number}: got {answer!r}")

    await asyncio.gather(*(use(number, *pair) for number, pair in enumerate(streams)))
    print("ready", flush=True)
    await stop.wait()
    await asyncio.gather(*(use(number, *pair) for number, pair in enumerate(streams)))
    for _, writer in streams:
        writer.close()
    return {"connections": count, "broken": broken}


async def fetch(address: str, port: int, stop: asyncio.Event) -> dict[str, object]:
    print("ready", flush=True)
    answers: Counter[str] = Counter()
    failures: list[tuple[float, str]] = []
    host = f"[{address}]" if ":" in address else address
    while not stop.is_set():
        started = time.time()
        try:
            answers[await asyncio.wait_for(request(address, port, host), 5)] += 1
        except (OSError, TimeoutError, ValueError) as error:
            failures.append((started, f"{type(error).__name__} {error}"))
            await asyncio.sleep(0.02)
    return {"answers": dict(answers), "failures": failures}


async def flow(address: str, port: int, stop: asyncio.Event) -> dict[str, object]:
    """Ask every 50 ms; tell the longest time without an answer, in seconds."""
    loop = asyncio.get_running_loop()
    link = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    link.setblocking(False)
    link.connect((address, port))
    print("ready", flush=True)
    answers, longest, last, sent = 0, 0.0, time.monotonic(), 0
    while not stop.is_set():
        sent += 1
        with contextlib.suppress(OSError):
            link.send(b"%d" % sent)
        with contextlib.suppress(TimeoutError, OSError):
            await asyncio.wait_for(loop.sock_recv(link, 100), 0.05)
            answers += 1
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        await asyncio.sleep(0.05)
    link.close()
    return {"sent": sent, "answers": answers, "longest": round(max(longest, time.monotonic() - last), 3)}


async def request(address: str, port: int, host: str) -> str:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    if b" 200 " not in answer[:20]:
        raise ValueError(f"answer {answer[:60]!r}")
    return answer.split(b"\r\n\r\n", 1)[1].decode().split()[0]


if __name__ == "__main__":
    found_mode, found_address, found_port, *rest = sys.argv[1:]
    found_count, found_protocol = int(rest[0]) if rest else 1, rest[1] if len(rest) > 1 else "TCP"
    asyncio.run(main(found_mode, found_address, int(found_port), found_count, found_protocol))
