from __future__ import annotations

import asyncio
import errno
import os
import socket
from ipaddress import ip_address

import pytest

from virtualserver.api.reasons import Reason
from virtualserver.model.monitoring import Result, Target
from virtualserver.monitors import tcp
from virtualserver.monitors.tcp import TcpMonitor

OPEN = TcpMonitor(refuse=lambda _: "")
"""For servers of the test itself, on loopback."""


def target(address: str = "198.18.1.21", port: int = 80, timeout: float = 1.0) -> Target:
    return Target("TCP", ip_address(address), port, 1.0, timeout)


def check(monitor: TcpMonitor, what: Target) -> Result:
    return asyncio.run(monitor.check(what))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "169.254.169.254",
        "169.254.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "ff02::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::ffff:198.18.1.21",
    ],
)
def test_forbidden_addresses_are_never_connected_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(_: Target) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(tcp, "_connect", connect)
    result = check(TcpMonitor(), target(address))
    assert not result.ok
    assert result.reason == Reason.ENDPOINT_FORBIDDEN
    assert address in result.message or str(ip_address(address)) in result.message


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ECONNREFUSED, Reason.CONNECTION_REFUSED),
        (errno.ECONNRESET, Reason.CONNECTION_RESET),
        (errno.ETIMEDOUT, Reason.CONNECTION_TIMEOUT),
        (errno.EHOSTUNREACH, Reason.NO_ROUTE),
        (errno.ENETUNREACH, Reason.NO_ROUTE),
        (errno.EMFILE, Reason.MONITOR_ERROR),
        (errno.EADDRNOTAVAIL, Reason.MONITOR_ERROR),
        (errno.EPERM, Reason.MONITOR_ERROR),
    ],
)
def test_errors_become_reasons_with_their_text(number: int, reason: Reason, monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(_: Target) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tcp, "_connect", connect)
    result = check(TcpMonitor(), target("fd00:18:1::21"))
    assert result == Result(
        False, reason, f"connect to [fd00:18:1::21]:80: {os.strerror(number)} ({errno.errorcode[number]})"
    )


def test_no_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(_: Target) -> None:
        await asyncio.sleep(10)

    monkeypatch.setattr(tcp, "_connect", connect)
    result = check(TcpMonitor(), target(timeout=0.01))
    assert result == Result(False, Reason.CONNECTION_TIMEOUT, "no answer from 198.18.1.21:80 within 0.01 s")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_open_port_succeeds_and_the_server_never_sees_a_connection(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen(4)
        listener.setblocking(False)
        for _ in range(20):
            result = check(OPEN, target(address, listener.getsockname()[1]))
            assert (result.ok, result.reason) == (True, Reason.MONITOR_SUCCEEDED)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_closed_port_is_refused() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        result = check(OPEN, target("127.0.0.1", bound.getsockname()[1]))
    assert result.reason == Reason.CONNECTION_REFUSED


def test_the_same_fault_gives_the_same_words() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        what = target("127.0.0.1", bound.getsockname()[1])
        assert check(OPEN, what) == check(OPEN, what), "a status repeats them; it must not change with every check"
