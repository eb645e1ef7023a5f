"""Short ways to write values in tests of the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from contract.worlds import LINK
from virtualserver.kernel.port import Kernel
from virtualserver.model.operations import AddService, Operation, Outcome
from virtualserver.model.types import (
    DestinationContent,
    DestinationKey,
    ForwardingMethod,
    LinkAddress,
    Protocol,
    ServiceContent,
    ServiceKey,
    Tunnel,
)

VIP = {4: "198.18.0.100", 6: "fd00:18::100"}
SERVER = {4: "198.18.1.{}", 6: "fd00:18:1::{}"}


def service(version: int = 4, port: int = 80, protocol: Protocol = Protocol.TCP) -> ServiceKey:
    return ServiceKey(protocol, ip_address(VIP[version]), port)


def content(version: int = 4, scheduler: str = "wrr", flags: Sequence[str] = (), timeout: int = 0) -> ServiceContent:
    return ServiceContent(scheduler, frozenset(flags), timeout, 32 if version == 4 else 128)


def server(number: int = 21, version: int = 4, port: int = 8080) -> DestinationKey:
    return DestinationKey(ip_address(SERVER[version].format(number)), port)


def settings(
    weight: int = 1,
    method: ForwardingMethod = ForwardingMethod.NAT,
    upper: int = 0,
    lower: int = 0,
    tunnel: Tunnel = Tunnel(),  # noqa: B008 - frozen
) -> DestinationContent:
    return DestinationContent(weight, method, upper, lower, tunnel)


def address(text: str, prefix: int, link: str = LINK) -> LinkAddress:
    return LinkAddress(link, ip_address(text), prefix)


def do(kernel: Kernel, *operations: Operation) -> list[Outcome]:
    """Apply operations that must all succeed."""
    outcomes = kernel.apply(operations)
    messages = [outcome.message for outcome in outcomes if not outcome.ok]
    assert not messages, messages
    return outcomes


def refused(kernel: Kernel, operation: Operation) -> Outcome:
    """Apply one operation that must be refused, and must change nothing."""
    before = kernel.read()
    (outcome,) = kernel.apply([operation])
    assert not outcome.ok
    assert outcome.operation is operation
    assert outcome.message
    assert kernel.read() == before
    return outcome


def with_service(kernel: Kernel, version: int = 4) -> ServiceKey:
    key = service(version)
    do(kernel, AddService(key, content(version)))
    return key
