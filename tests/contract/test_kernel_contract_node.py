"""What every kernel promises about the rest of a node; run against the fake one, and unchanged the real one."""

from __future__ import annotations

import errno
from ipaddress import ip_address

import pytest

from contract.build import address, content, do, refused, server, service, settings, with_service
from contract.worlds import LINK, ROUTED, World
from virtualserver.kernel.port import Kernel
from virtualserver.model.failover import Member
from virtualserver.model.operations import (
    AddAddress,
    AddDestination,
    Operation,
    RemoveAddress,
    RemoveService,
    ReplaceRules,
    SetService,
    WriteSysctl,
)
from virtualserver.model.types import (
    Admission,
    Clamp,
    Protocol,
    Rules,
    Service,
)
from virtualserver.plan.settings import ADVERTISEMENTS, FORWARD_IPV6


class TestOthers:
    def test_firewall_marks_are_passed_over(self, kernel: Kernel, world: World) -> None:
        world.foreign_firewall_mark(1)
        world.foreign_firewall_mark(7)
        key = with_service(kernel)
        assert kernel.read().services == {key: Service(content())}
        do(kernel, RemoveService(key))
        assert kernel.read().services == {}
        assert world.foreign_firewall_marks() == 2

    def test_services_of_others_are_seen_and_stay(self, kernel: Kernel, world: World) -> None:
        others = [service(port=443), service(6, 443), service(port=80, protocol=Protocol.UDP)]
        for other in others:
            world.foreign_service(other)
        key = with_service(kernel)
        assert kernel.read().services.keys() == {key, *others}
        do(kernel, SetService(key, content(scheduler="rr")), RemoveService(key))
        state = kernel.read()
        assert state.services == {other: Service(content(other.address.version)) for other in others}

    def test_flush_is_seen(self, kernel: Kernel, world: World) -> None:
        key = with_service(kernel)
        do(kernel, AddDestination(key, server(), settings()))
        assert kernel.read().services
        world.flush_services()
        assert kernel.read().services == {}

    def test_addresses_of_others_are_seen_and_stay(self, kernel: Kernel, world: World) -> None:
        others = {world.foreign_address("10.77.0.1/24"), world.foreign_address("fd77::1/64")}
        ours = [address("10.77.0.9", 24), address("fd77::9", 64), address("10.77.0.10", 32)]
        do(kernel, *(AddAddress(one) for one in ours))
        assert kernel.read().addresses >= others | set(ours)
        do(kernel, *(RemoveAddress(one) for one in ours))
        after = kernel.read().addresses
        assert after >= others
        assert not after & set(ours)

    def test_first_of_its_network_leaves_alone(self, kernel: Kernel, world: World) -> None:
        """The kernel would take the other address away with ours, which was there first."""
        ours = address("10.77.0.9", 24)
        do(kernel, AddAddress(ours))
        other = world.foreign_address("10.77.0.1/24")
        do(kernel, RemoveAddress(ours))
        assert other in kernel.read().addresses
        assert ours not in kernel.read().addresses


class TestAddresses:
    @pytest.mark.parametrize(
        ("text", "prefix"), [("198.18.0.100", 32), ("fd00:18::100", 128), ("198.18.1.1", 24), ("fd00:18:1::1", 64)]
    )
    def test_add_and_remove(self, kernel: Kernel, text: str, prefix: int) -> None:
        one = address(text, prefix)
        before = kernel.read()
        assert LINK in before.links
        do(kernel, AddAddress(one))
        assert kernel.read().addresses == before.addresses | {one}
        assert refused(kernel, AddAddress(one)).errno == errno.EEXIST
        do(kernel, RemoveAddress(one))
        assert kernel.read() == before
        assert refused(kernel, RemoveAddress(one)).errno == errno.EADDRNOTAVAIL

    @pytest.mark.parametrize(
        ("code", "operation"),
        [
            (errno.ENODEV, AddAddress(address("198.18.0.100", 32, "missing"))),
            (errno.ENODEV, AddAddress(address("198.18.0.100", 32, "a-name-that-is-much-too-long"))),
            (errno.ENODEV, RemoveAddress(address("fd00:18::100", 128, "missing"))),
            (errno.EADDRNOTAVAIL, RemoveAddress(address("198.18.0.100", 32))),
            (errno.EADDRNOTAVAIL, RemoveAddress(address("198.18.0.100", 32, "lo"))),
            (errno.EADDRNOTAVAIL, AddAddress(address("ff02::1", 128))),
            (errno.EINVAL, AddAddress(address("198.18.0.100", 33))),
            (errno.EINVAL, AddAddress(address("fd00:18::100", 0))),
        ],
    )
    def test_refusals(self, kernel: Kernel, code: int, operation: Operation) -> None:
        assert refused(kernel, operation).errno == code


class TestSysctls:
    NAME = "net.ipv4.vs.expire_nodest_conn"

    def test_read_and_write(self, kernel: Kernel) -> None:
        assert kernel.read().sysctls == {}
        assert kernel.read([self.NAME, "net.ipv4.vs.nonsense"]).sysctls == {self.NAME: "0"}
        do(kernel, WriteSysctl(self.NAME, "1"))
        assert kernel.read([self.NAME]).sysctls == {self.NAME: "1"}
        do(kernel, WriteSysctl(self.NAME, "0"))

    def test_a_star_stands_for_all_links(self, kernel: Kernel) -> None:
        found = kernel.read([ADVERTISEMENTS])
        names = {link: f"net.ipv6.conf.{link}.accept_ra" for link in (*found.links, "all", "default")}
        # The kernel's own tunnel devices (tunl0 ...), once there, know no IPv6.
        assert {names[link] for link in (LINK, "lo", "all", "default")} <= found.sysctls.keys() <= set(names.values())
        assert found.sysctls[f"net.ipv6.conf.{LINK}.accept_ra"] == "1"
        assert kernel.read(["net.ipv6.nonsense.*.accept_ra"]).sysctls == {}

    @pytest.mark.parametrize(("accepts", "kept"), [("1", False), ("2", True)])
    def test_forwarding_forgets_routers_unless_their_link_takes_advertisements_always(
        self, kernel: Kernel, world: World, accepts: str, kept: bool
    ) -> None:
        world.hear_router()
        assert world.has_default_route()
        do(kernel, WriteSysctl(f"net.ipv6.conf.{ROUTED}.accept_ra", accepts))
        assert world.has_default_route()
        do(kernel, WriteSysctl(FORWARD_IPV6, "1"))
        assert world.has_default_route() is kept
        world.hear_router()
        assert world.has_default_route() is kept
        do(kernel, WriteSysctl(FORWARD_IPV6, "0"), WriteSysctl(f"net.ipv6.conf.{ROUTED}.accept_ra", "1"))
        assert world.has_default_route() is kept
        world.hear_router()
        assert world.has_default_route()

    def test_two_words_are_parted_by_one_space(self, kernel: Kernel) -> None:
        name = "net.ipv4.vs.sync_threshold"
        do(kernel, WriteSysctl(name, "0 1"))
        assert kernel.read([name]).sysctls == {name: "0 1"}
        do(kernel, WriteSysctl(name, "3 50"))

    @pytest.mark.parametrize(
        ("code", "name", "value"),
        [
            (errno.ENOENT, "net.ipv4.vs.nonsense", "1"),
            (errno.EINVAL, NAME, "word"),
        ],
    )
    def test_refusals(self, kernel: Kernel, code: int, name: str, value: str) -> None:
        outcome = refused(kernel, WriteSysctl(name, value))
        assert outcome.errno == code
        assert name in outcome.message


_GUARDED = frozenset({service(), service(port=443), service(6), service(port=0)})
_TRANSLATED = frozenset({service(), service(6, 443), service(port=53, protocol=Protocol.UDP), service(6, 0)})
_TUNNELLED = frozenset(
    Admission(port, ip_address(source))
    for port, source in [(6080, "198.18.1.12"), (6080, "198.18.1.11"), (7080, "198.18.1.11"), (6080, "fd00:18:1::11")]
)
_MEMBERS = frozenset(
    Member(link, ip_address(source), port)
    for link, source, port in [
        ("eth0", "198.18.0.11", 0),
        ("eth0", "198.18.0.12", 0),
        ("eth0", "fe80::11", 0),
        ("eth1", "198.18.1.11", 8848),
        ("eth0.100", "fd00:18:1::11", 8849),
    ]
)
_CLAMPED = frozenset({Clamp(service().address, 1400), Clamp(service(6).address, 1)})


_SEALED = frozenset(service(version).address for version in (4, 6))


class TestRules:
    @pytest.mark.parametrize(
        "rules",
        [
            Rules(_GUARDED, _TRANSLATED),
            Rules(guarded=_GUARDED),
            Rules(translated=_TRANSLATED),
            Rules(guarded=frozenset({service(6)})),
            Rules(translated=frozenset({service(port=9, protocol=Protocol.SCTP)})),
            Rules(tunnelled=_TUNNELLED),
            Rules(clamped=_CLAMPED),
            Rules(members=_MEMBERS),
            Rules(members=frozenset({Member("eth0", ip_address("198.18.0.11"))})),
            Rules(members=frozenset({Member("eth0", ip_address("fd00:18::11"), 8848)})),
            Rules(sealed=_SEALED),
            Rules(tracked=frozenset({4})),
            Rules(tracked=frozenset({4, 6}), translated=_TRANSLATED),
            Rules(_GUARDED, _TRANSLATED, _TUNNELLED, _CLAMPED, members=_MEMBERS, sealed=_SEALED),
        ],
    )
    def test_read_back_change_and_remove(self, kernel: Kernel, rules: Rules) -> None:
        assert kernel.read(rules=True).rules == Rules()
        do(kernel, ReplaceRules(rules))
        assert kernel.read(rules=True).rules == rules
        assert kernel.read().rules == Rules()  # not asked for
        other = Rules(guarded=frozenset({service(port=8080)}))
        do(kernel, ReplaceRules(other), ReplaceRules(other))
        assert kernel.read(rules=True).rules == other
        do(kernel, ReplaceRules(Rules()))
        assert kernel.read(rules=True).rules == Rules()

    def test_flush_is_seen_and_repaired(self, kernel: Kernel, world: World) -> None:
        rules = Rules(_GUARDED, _TRANSLATED, _TUNNELLED, _CLAMPED, members=_MEMBERS, sealed=_SEALED)
        do(kernel, ReplaceRules(rules))
        world.flush_rules()
        assert kernel.read(rules=True).rules == Rules()
        do(kernel, ReplaceRules(rules))
        assert kernel.read(rules=True).rules == rules

    @pytest.mark.parametrize(
        ("code", "rules"),
        [
            (errno.EINVAL, Rules(guarded=frozenset({service(protocol=Protocol.UDP)}))),
            (errno.ERANGE, Rules(tunnelled=frozenset({Admission(0, service().address)}))),
            (errno.ERANGE, Rules(members=frozenset({Member("eth0", service().address, 65536)}))),
            (errno.EINVAL, Rules(members=frozenset({Member("eth+", service().address)}))),
            (errno.EINVAL, Rules(members=frozenset({Member("", service().address)}))),
            (errno.EINVAL, Rules(members=frozenset({Member("eth0 -j ACCEPT", service().address)}))),
            (errno.EINVAL, Rules(members=frozenset({Member("eth0", ip_address("224.0.0.18"))}))),
            (errno.EINVAL, Rules(members=frozenset({Member("eth0", ip_address("::"))}))),
            (errno.ERANGE, Rules(clamped=frozenset({Clamp(service().address, 0)}))),
            (errno.ERANGE, Rules(clamped=frozenset({Clamp(service().address, 65535)}))),
            (errno.EINVAL, Rules(clamped=frozenset({Clamp(service().address, size) for size in (1400, 1401)}))),
        ],
    )
    def test_refusals(self, kernel: Kernel, code: int, rules: Rules) -> None:
        assert refused(kernel, ReplaceRules(rules)).errno == code
        assert kernel.read(rules=True).rules == Rules()
