"""What every kernel promises; run against the fake one, and unchanged against the real one (VS_CONTRACT=netlink)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from itertools import combinations

import pytest

from contract.build import address, content, do, refused, server, service, settings, with_service
from contract.worlds import World
from virtualserver.kernel.port import Kernel
from virtualserver.model.operations import (
    AddAddress,
    AddDestination,
    AddService,
    Operation,
    RemoveAddress,
    RemoveDestination,
    RemoveService,
    SetDestination,
    SetService,
    WriteSysctl,
)
from virtualserver.model.schedulers import SCHEDULERS
from virtualserver.model.types import (
    DestinationKey,
    ForwardingMethod,
    Protocol,
    Service,
    ServiceContent,
    Tunnel,
    TunnelType,
)


def _scheduler_cases() -> Iterator[tuple[str, tuple[str, ...]]]:
    for scheduler, flags in SCHEDULERS.items():
        for count in range(len(flags) + 1):
            for chosen in combinations(flags, count):
                yield scheduler, chosen


class TestServices:
    @pytest.mark.parametrize("version", [4, 6])
    @pytest.mark.parametrize(("scheduler", "flags"), list(_scheduler_cases()))
    def test_reads_back(self, kernel: Kernel, version: int, scheduler: str, flags: tuple[str, ...]) -> None:
        wanted = content(version, scheduler, flags)
        do(kernel, AddService(service(version), wanted))
        assert kernel.read().services == {service(version): Service(wanted)}

    @pytest.mark.parametrize(
        ("version", "prefix"), [(4, 0), (4, 1), (4, 24), (4, 31), (4, 32), (6, 1), (6, 56), (6, 64), (6, 128)]
    )
    @pytest.mark.parametrize("timeout", [1, 360, 31 * 86400])
    def test_persistence_reads_back(self, kernel: Kernel, version: int, prefix: int, timeout: int) -> None:
        wanted = ServiceContent("mh", frozenset({"mh-fallback"}), timeout, prefix)
        do(kernel, AddService(service(version), wanted))
        assert kernel.read().services[service(version)].content == wanted

    def test_protocols_and_families_stand_side_by_side(self, kernel: Kernel) -> None:
        keys = [service(version, 53, protocol) for version in (4, 6) for protocol in Protocol]
        do(kernel, *(AddService(key, content(key.address.version)) for key in keys))
        assert kernel.read().services.keys() == set(keys)

    def test_port_zero(self, kernel: Kernel) -> None:
        wanted = content(timeout=60)
        do(kernel, AddService(service(port=0), wanted))
        assert kernel.read().services == {service(port=0): Service(wanted)}

    @pytest.mark.parametrize("version", [4, 6])
    def test_one_packet_scheduling_is_for_udp(self, kernel: Kernel, version: int) -> None:
        key = service(version, 53, Protocol.UDP)
        for flags in (["ops"], ["sh-port", "ops"], ["sh-port"]):
            wanted = content(version, "sh", flags)
            do(kernel, AddService(key, wanted) if flags == ["ops"] else SetService(key, wanted))
            assert kernel.read().services == {key: Service(wanted)}
        for protocol in (Protocol.TCP, Protocol.SCTP):
            operation = AddService(service(version, 53, protocol), content(version, flags=["ops"]))
            assert refused(kernel, operation).errno == errno.EINVAL

    def test_set_replaces_all(self, kernel: Kernel) -> None:
        do(kernel, AddService(service(), ServiceContent("mh", frozenset({"mh-port", "mh-fallback"}), 300, 24)))
        do(kernel, AddDestination(service(), server(), settings()))
        for wanted in (
            ServiceContent("sh", frozenset({"sh-port"}), 0, 24),
            ServiceContent("sh", frozenset(), 10, 0),
            content(scheduler="rr"),
        ):
            do(kernel, SetService(service(), wanted))
            assert kernel.read().services == {service(): Service(wanted, {server(): settings()})}

    def test_remove_takes_real_servers_along(self, kernel: Kernel) -> None:
        key = with_service(kernel)
        do(kernel, AddDestination(key, server(), settings()), RemoveService(key))
        assert kernel.read().services == {}
        with_service(kernel)
        assert kernel.read().services == {key: Service(content())}

    @pytest.mark.parametrize(
        ("code", "word", "operation"),
        [
            (errno.EEXIST, "already", AddService(service(), content(scheduler="rr"))),
            (errno.EEXIST, "already", AddService(service(), content(scheduler="nonsense"))),
            (errno.ENOENT, "scheduler nonsense", AddService(service(port=81), content(scheduler="nonsense"))),
            (errno.ENOENT, "scheduler nonsense", SetService(service(), content(scheduler="nonsense"))),
            (errno.ESRCH, "not there", SetService(service(port=81), content())),
            (errno.ESRCH, "not there", RemoveService(service(port=81))),
            (errno.ESRCH, "not there", RemoveService(service(protocol=Protocol.UDP))),
            (errno.EINVAL, "no flag", SetService(service(), content(scheduler="rr", flags=["sh-port"]))),
            (errno.EINVAL, "no flag", SetService(service(), content(scheduler="mh", flags=["sh-port"]))),
            (errno.EINVAL, "name", SetService(service(), content(scheduler="x" * 16))),
            (errno.EINVAL, "prefix 33", SetService(service(), replace(content(), persistence_prefix=33))),
            (errno.EINVAL, "prefix -1", SetService(service(), replace(content(), persistence_prefix=-1))),
            (errno.EINVAL, "prefix 0", AddService(service(6), replace(content(), persistence_prefix=0))),
            (errno.EINVAL, "prefix 129", AddService(service(6), replace(content(), persistence_prefix=129))),
            (errno.ERANGE, "timeout", SetService(service(), replace(content(), persistence_timeout=-1))),
            (errno.ERANGE, "timeout", SetService(service(), replace(content(), persistence_timeout=2**31))),
            (errno.ERANGE, "port", AddService(service(port=65536), content())),
        ],
    )
    def test_refusals(self, kernel: Kernel, code: int, word: str, operation: Operation) -> None:
        with_service(kernel)
        outcome = refused(kernel, operation)
        assert outcome.errno == code
        assert word in outcome.message
        assert errno.errorcode[code] in outcome.message


_TUNNELS = [
    Tunnel(),
    Tunnel(TunnelType.IPIP),
    Tunnel(TunnelType.GUE, 6080),
    Tunnel(TunnelType.GUE, 5555, checksum=True),
    Tunnel(TunnelType.GUE, 6080, remote_checksum=True),
    Tunnel(TunnelType.GRE),
    Tunnel(TunnelType.GRE, checksum=True),
]


class TestDestinations:
    @pytest.mark.parametrize("version", [4, 6])
    @pytest.mark.parametrize("method", [ForwardingMethod.NAT, ForwardingMethod.DIRECT_ROUTING, ForwardingMethod.LOCAL])
    def test_methods_read_back(self, kernel: Kernel, version: int, method: ForwardingMethod) -> None:
        key = with_service(kernel, version)
        wanted = settings(7, method)
        do(kernel, AddDestination(key, server(21, version), wanted))
        assert kernel.read().services[key].destinations == {server(21, version): wanted}

    @pytest.mark.parametrize("version", [4, 6])
    @pytest.mark.parametrize("outer", [4, 6])
    @pytest.mark.parametrize("tunnel", _TUNNELS)
    def test_tunnels_read_back(self, kernel: Kernel, version: int, outer: int, tunnel: Tunnel) -> None:
        key = with_service(kernel, version)
        wanted = settings(method=ForwardingMethod.TUNNEL, tunnel=tunnel)
        do(kernel, AddDestination(key, server(21, outer), wanted))
        assert kernel.read().services[key].destinations == {server(21, outer): wanted}

    @pytest.mark.parametrize("weight", [0, 1, 100, 2**31 - 1])
    @pytest.mark.parametrize(("upper", "lower"), [(0, 0), (100, 0), (100, 100), (2**32 - 1, 1)])
    def test_numbers_read_back(self, kernel: Kernel, weight: int, upper: int, lower: int) -> None:
        key = with_service(kernel)
        wanted = settings(weight, upper=upper, lower=lower)
        do(kernel, AddDestination(key, server(), wanted))
        assert kernel.read().services[key].destinations == {server(): wanted}

    def test_order_is_the_order_of_addition(self, kernel: Kernel) -> None:
        key = with_service(kernel)
        servers = [server(number) for number in (30, 10, 20, 40)]
        do(kernel, *(AddDestination(key, one, settings()) for one in servers))
        assert list(kernel.read().services[key].destinations) == servers
        do(kernel, SetDestination(key, servers[1], settings(5)), RemoveDestination(key, servers[0]))
        assert list(kernel.read().services[key].destinations) == servers[1:]

    def test_ports_tell_real_servers_apart(self, kernel: Kernel) -> None:
        key = with_service(kernel)
        servers = [server(port=port) for port in (0, 1, 258, 513, 65535)]
        do(kernel, *(AddDestination(key, one, settings(one.port)) for one in servers))
        assert kernel.read().services[key].destinations == {one: settings(one.port) for one in servers}

    def test_set_replaces_all(self, kernel: Kernel) -> None:
        key = with_service(kernel)
        do(kernel, AddDestination(key, server(), settings(9, ForwardingMethod.TUNNEL, 50, 20, _TUNNELS[3])))
        do(kernel, AddDestination(key, server(22), settings(3)))
        for wanted in (settings(0), settings(4, ForwardingMethod.DIRECT_ROUTING, 10, 5), settings(2)):
            do(kernel, SetDestination(key, server(), wanted))
            assert kernel.read().services[key].destinations == {server(): wanted, server(22): settings(3)}

    @pytest.mark.parametrize(
        ("code", "word", "operation"),
        [
            (errno.EEXIST, "already", AddDestination(service(), server(), settings(5))),
            (errno.ESRCH, "virtual server", AddDestination(service(port=81), server(), settings())),
            (errno.ESRCH, "virtual server", SetDestination(service(port=81), server(), settings())),
            (errno.ESRCH, "virtual server", RemoveDestination(service(port=81), server())),
            (errno.ENOENT, "not there", SetDestination(service(), server(22), settings())),
            (errno.ENOENT, "not there", RemoveDestination(service(), server(22))),
            (errno.ENOENT, "not there", RemoveDestination(service(), server(port=81))),
            (errno.ERANGE, "weight", SetDestination(service(), server(), settings(-1))),
            (errno.ERANGE, "weight", AddDestination(service(), server(22), settings(2**31))),
            (errno.ERANGE, "thresholds", SetDestination(service(), server(), settings(upper=5, lower=6))),
            (errno.ERANGE, "port", AddDestination(service(), server(port=65536), settings())),
            (errno.EINVAL, "GUE", SetDestination(service(), server(), settings(tunnel=Tunnel(TunnelType.GUE)))),
            (errno.EINVAL, "family", AddDestination(service(), server(22, 6), settings())),
            (
                errno.EINVAL,
                "family",
                AddDestination(service(), server(22, 6), settings(method=ForwardingMethod.DIRECT_ROUTING)),
            ),
            *(
                (errno.EINVAL, "unicast", AddDestination(service(), DestinationKey(ip_address(bad), 80), settings()))
                for bad in ("0.0.0.0", "224.0.0.1", "255.255.255.255")
            ),
        ],
    )
    def test_refusals(self, kernel: Kernel, code: int, word: str, operation: Operation) -> None:
        key = with_service(kernel)
        do(kernel, AddDestination(key, server(), settings()))
        outcome = refused(kernel, operation)
        assert outcome.errno == code
        assert word in outcome.message

    @pytest.mark.parametrize("bad", ["::", "ff02::1", "fe80::1"])
    def test_refused_ipv6_addresses(self, kernel: Kernel, bad: str) -> None:
        key = with_service(kernel, 6)
        outcome = refused(kernel, AddDestination(key, DestinationKey(ip_address(bad), 80), settings()))
        assert outcome.errno == errno.EINVAL


class TestBatches:
    def test_one_bad_thing_stops_none_of_the_others(self, kernel: Kernel) -> None:
        key = with_service(kernel)
        good = [AddDestination(key, server(number), settings()) for number in range(1, 31)]
        operations: list[Operation] = [
            *good[:10],
            AddDestination(key, server(3), settings()),
            AddDestination(key, server(99), settings(-1)),
            *good[10:20],
            RemoveDestination(key, server(77)),
            AddService(service(port=81), content(scheduler="nonsense")),
            AddDestination(service(port=81), server(), settings()),
            *good[20:],
            SetService(service(port=82), content()),
        ]
        outcomes = kernel.apply(operations)
        assert [outcome.operation for outcome in outcomes] == operations
        bad = {at: outcome.errno for at, outcome in enumerate(outcomes) if not outcome.ok}
        assert bad == {
            10: errno.EEXIST,
            11: errno.ERANGE,
            22: errno.ENOENT,
            23: errno.ENOENT,
            24: errno.ESRCH,
            35: errno.ESRCH,
        }
        assert list(kernel.read().services[key].destinations) == [operation.key for operation in good]

    def test_more_than_one_send_holds(self, kernel: Kernel) -> None:
        key = with_service(kernel)
        wanted = {server(number % 250 + 1, port=number): settings(number) for number in range(1, 601)}
        operations = [AddDestination(key, one, setting) for one, setting in wanted.items()]
        outcomes = kernel.apply([*operations, *operations])
        assert [outcome.errno for outcome in outcomes] == [0] * 600 + [errno.EEXIST] * 600
        assert list(kernel.read().services[key].destinations.items()) == list(wanted.items())

    def test_order_holds_across_kinds(self, kernel: Kernel) -> None:
        key = service()
        vip = address(str(key.address), 32)
        do(
            kernel,
            AddService(key, content()),
            AddAddress(vip),
            AddDestination(key, server(), settings()),
            WriteSysctl("net.ipv4.vs.sloppy_tcp", "1"),
            SetDestination(key, server(), settings(3)),
        )
        state = kernel.read(["net.ipv4.vs.sloppy_tcp"])
        assert state.services == {key: Service(content(), {server(): settings(3)})}
        assert vip in state.addresses
        assert state.sysctls == {"net.ipv4.vs.sloppy_tcp": "1"}
        do(kernel, RemoveAddress(vip), RemoveService(key), WriteSysctl("net.ipv4.vs.sloppy_tcp", "0"))

    def test_nothing_to_do(self, kernel: Kernel) -> None:
        assert kernel.apply([]) == []

    def test_writes_are_counted(self, kernel: Kernel, world: World) -> None:
        before = world.writes
        kernel.read()
        assert world.writes == before
        with_service(kernel)
        kernel.apply([RemoveService(service(port=81)), AddAddress(address("198.18.0.100", 32, "missing"))])
        assert world.writes == before + 3

    @pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
    def test_pretended_failure(self, kernel: Kernel, world: World, number: int) -> None:
        world.fail_at(number, errno.ENOMEM)
        operations: list[Operation] = [
            AddService(service(port=80), content()),
            AddService(service(port=81), content()),
            AddAddress(address("198.18.0.100", 32)),
            AddService(service(port=82), content()),
            WriteSysctl("net.ipv4.vs.sloppy_tcp", "0"),
        ]
        outcomes = kernel.apply(operations)
        assert [outcome.errno for outcome in outcomes] == [
            errno.ENOMEM if position == number else 0 for position in range(1, 6)
        ]
        state = kernel.read()
        assert len(state.services) == (3 if number in (3, 5) else 2)
        assert (address("198.18.0.100", 32) in state.addresses) == (number != 3)
