"""A kernel in memory that refuses what the real one refuses; ``tests/contract`` runs one suite against both."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv6Address

from virtualserver.kernel.fakefailover import FakeFailover
from virtualserver.kernel.port import KernelError
from virtualserver.kernel.refusals import (
    NOT_OURS,
    FailHook,
    RefusedError,
    check_address,
    check_decapsulation,
    check_destination,
    check_link,
    check_rules,
    check_service,
    explain,
)
from virtualserver.model.operations import (
    AddAddress,
    AddDecapsulation,
    AddDestination,
    AddLink,
    AddService,
    Allow,
    ConfigureInstances,
    DecapsulationOperation,
    Forbid,
    LinkOperation,
    Operation,
    Outcome,
    RaiseLink,
    RemoveAddress,
    RemoveDecapsulation,
    RemoveDestination,
    RemoveLink,
    RemoveService,
    ReplaceRules,
    SetDestination,
    SetService,
    StartDaemon,
    StopDaemon,
    WriteSysctl,
)
from virtualserver.model.schedulers import SCHEDULERS
from virtualserver.model.types import (
    Decapsulation,
    DestinationContent,
    DestinationKey,
    ForwardingMethod,
    IPAddress,
    LinkAddress,
    LinkKind,
    OwnLink,
    Rules,
    Service,
    ServiceKey,
    State,
    TunnelType,
)
from virtualserver.model.usage import Usage

_FORWARDING = "net.ipv6.conf.all.forwarding"

SYSCTLS: dict[str, str] = {
    "net.ipv4.ip_forward": "0",
    _FORWARDING: "0",
    "net.ipv6.conf.all.accept_ra": "1",
    "net.ipv6.conf.default.accept_ra": "1",
    "net.ipv4.conf.all.send_redirects": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.all.arp_ignore": "0",
    "net.ipv4.conf.all.arp_announce": "0",
    "net.ipv4.vs.conntrack": "0",
    "net.ipv4.vs.conn_reuse_mode": "1",
    "net.ipv4.vs.expire_nodest_conn": "0",
    "net.ipv4.vs.expire_quiescent_template": "0",
    "net.ipv4.vs.sloppy_tcp": "0",
    "net.ipv4.vs.snat_reroute": "1",
    "net.ipv4.vs.nat_icmp_send": "0",
    "net.ipv4.vs.sync_threshold": "3 50",
    "net.ipv4.vs.sync_refresh_period": "0",
    "net.ipv4.vs.sync_retries": "0",
    "net.ipv4.vs.sync_sock_size": "0",
    "net.ipv4.vs.sync_ports": "1",
    "net.ipv4.vs.sync_version": "1",
    "net.ipv4.vs.sync_persist_mode": "0",
    "net.ipv4.vs.backup_only": "0",
    "net.ipv4.vs.pmtu_disc": "1",
}
"""The settings of a fresh network namespace that the fake knows unless told otherwise."""

LINK_SYSCTLS: dict[str, str] = {
    "net.ipv4.conf.{}.rp_filter": "0",
    "net.ipv4.conf.{}.arp_ignore": "0",
    "net.ipv4.conf.{}.arp_announce": "0",
    "net.ipv6.conf.{}.addr_gen_mode": "0",
}
"""The settings that come and go with a link of ours."""


class FakeKernel:
    """Same verbs, same refusals, no privileges. ``services``, ``addresses`` ... may be changed "by hand" in tests.

    ``writes`` counts tried operations as ``Netlink`` does, ``reads`` counts reads; ``unreadable`` (a reason) makes
    reads fail; ``fail`` injects refusals. ``routers`` holds the links that have a default route from a router's
    advertisement.
    """

    def __init__(
        self,
        links: Iterable[str] = ("lo", "eth0"),
        sysctls: Mapping[str, str] | None = None,
        *,
        fail: FailHook | None = None,
    ) -> None:
        self.links = set(links)
        self.own_links: dict[str, OwnLink] = {}
        self.down: set[str] = set()
        self.services: dict[ServiceKey, Service] = {}
        self.decapsulations: set[Decapsulation] = set()
        self.taken_ports: set[int] = set()
        self.addresses: set[LinkAddress] = set()
        self.sysctls = dict(SYSCTLS if sysctls is None else sysctls)
        for link in links:
            self.sysctls[_accept_ra(link)] = "1"
        self.routers: set[str] = set()
        self.rules = Rules()
        self.failover = FakeFailover()
        self.kept: dict[IPAddress, int] = {}
        self.used = Usage()
        self.narrow: dict[IPAddress, int] = {}
        self.unreadable = ""
        self.writes = 0
        self.reads = 0
        self._fail = fail
        self._indexes: dict[str, int] = {}
        self._last_index = 0

    # The verbs

    def read(self, sysctls: Sequence[str] = (), *, rules: bool = False) -> State:
        """Return a copy of everything; raises KernelError when told to by ``unreadable``."""
        self.reads += 1
        if self.unreadable:
            raise KernelError(self.unreadable)
        return State(
            services={key: Service(found.content, dict(found.destinations)) for key, found in self.services.items()},
            addresses=frozenset(self.addresses),
            sysctls={name: value for name, value in self.sysctls.items() if any(_means(one, name) for one in sysctls)},
            rules=self.rules if rules else Rules(),
            links=frozenset(self.links),
            mtus=dict.fromkeys(self.links, 1500),
            down=frozenset(self.down),
            asked=frozenset(self.links - self.own_links.keys() - {"lo"}),
            own_links=dict(self.own_links),
            decapsulations=frozenset(self.decapsulations),
            instances=dict(self.failover.instances),
            eligible=frozenset(self.failover.eligible),
            electing=self.failover.electing,
            daemons=frozenset(self.failover.daemons.values()),
            indexes=self._numbered(),
        )

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Apply all in their order; return one outcome each."""
        return [self._apply_one(operation) for operation in operations]

    def mtu_to(self, peer: IPAddress) -> int:
        """Return what a test has put into ``narrow``, else the links' own MTU."""
        return self.narrow.get(peer, 1500)

    def usage(self) -> Usage:
        """Return what tests say is used; raises KernelError when told to by ``unreadable``."""
        if self.unreadable:
            raise KernelError(self.unreadable)
        return self.used

    def connections(self, addresses: frozenset[IPAddress]) -> int:
        """Return what a test has put into ``kept``."""
        return sum(count for address, count in self.kept.items() if address in addresses)

    def _numbered(self) -> dict[str, int]:
        """Give each new link a number that no link has had before."""
        for name in sorted(self.links - self._indexes.keys()):
            self._last_index += 1
            self._indexes[name] = self._last_index
        return {name: self._indexes[name] for name in self.links}

    # Another hand

    def flush(self) -> None:
        """Empty the IPVS table, as kube-proxy does when it starts in nftables mode."""
        self.services.clear()

    def flush_rules(self) -> None:
        """Empty the packet filter."""
        self.rules = Rules()

    def hear_router(self, link: str) -> None:
        """A router advertises itself: a link that takes advertisements has a default route from then on."""
        taken = "12" if self.sysctls[_FORWARDING] == "0" else "2"
        if self.sysctls[_accept_ra(link)] in taken:
            self.routers.add(link)

    def remove_link(self, name: str) -> None:
        """Take a link away, its addresses and settings with it."""
        self.links.discard(name)
        self._indexes.pop(name, None)
        self.own_links.pop(name, None)
        for setting in LINK_SYSCTLS:
            self.sysctls.pop(setting.format(name), None)
        self.routers.discard(name)
        self.sysctls.pop(_accept_ra(name), None)
        self.addresses = {address for address in self.addresses if address.link != name}

    def set_destination(self, service: ServiceKey, key: DestinationKey, content: DestinationContent | None) -> None:
        """Put a real server in place, or take it out (None), without asking whether that is allowed."""
        destinations = dict(self.services[service].destinations)
        if content is None:
            destinations.pop(key, None)
        else:
            destinations[key] = content
        self.services[service] = replace(self.services[service], destinations=destinations)

    # Refusals, in the order in which the kernel looks

    def _apply_one(self, operation: Operation) -> Outcome:
        self.writes += 1
        try:
            pretended = self._fail(self.writes, operation) if self._fail else 0
            if pretended:
                raise RefusedError(pretended)
            self._do(operation)
        except RefusedError as refused:
            return Outcome(operation, refused.errno, explain(operation, refused.errno, refused.reason))
        return Outcome(operation)

    def _do(self, operation: Operation) -> None:
        match operation:
            case AddService() | SetService():
                self._write_service(operation)
            case RemoveService(key):
                _require(key in self.services, errno.ESRCH)
                del self.services[key]
            case AddDestination() | SetDestination():
                self._write_destination(operation)
            case RemoveDestination(service, key):
                _require(service in self.services, errno.ESRCH)
                _require(key in self.services[service].destinations, errno.ENOENT)
                self.set_destination(service, key, None)
            case AddAddress(address):
                self._add_address(address)
            case RemoveAddress(address):
                check_address(address)
                _require(address.link in self.links, errno.ENODEV)
                _require(address in self.addresses, errno.EADDRNOTAVAIL)
                self.addresses.remove(address)
            case WriteSysctl(name, value):
                self._write_sysctl(name, value)
            case ReplaceRules(rules):
                check_rules(rules)
                self.rules = rules
            case ConfigureInstances() | Allow() | Forbid() | StartDaemon() | StopDaemon():
                self.failover.do(operation, self)
            case _:
                self._do_for_tunnels(operation)

    def _do_for_tunnels(self, operation: LinkOperation | DecapsulationOperation) -> None:
        match operation:
            case AddLink(name, link):
                self._add_link(name, link)
            case RaiseLink(name):
                self.own_links[name] = replace(self._own_link(name), up=True)
            case RemoveLink(name):
                self._own_link(name)
                self.remove_link(name)
            case AddDecapsulation(one):
                check_decapsulation(one)
                _require(one not in self.decapsulations and one.port not in self.taken_ports, errno.EADDRINUSE)
                self.decapsulations.add(one)
            case RemoveDecapsulation(one):
                check_decapsulation(one)
                _require(one in self.decapsulations, errno.EINVAL)
                self.decapsulations.remove(one)

    def _add_link(self, name: str, link: OwnLink) -> None:
        check_link(name, link)
        _require(name not in self.links, errno.EEXIST)
        ends = {(other.kind, other.local, other.remote) for other in self.own_links.values()}
        _require(link.kind is LinkKind.DUMMY or (link.kind, link.local, link.remote) not in ends, errno.EEXIST)
        self.links.add(name)
        self.own_links[name] = replace(link, up=False)
        self.sysctls.update({setting.format(name): value for setting, value in LINK_SYSCTLS.items()})

    def _own_link(self, name: str) -> OwnLink:
        _require(name in self.links, errno.ENODEV)
        if name not in self.own_links:
            raise RefusedError(errno.EPERM, NOT_OURS)
        return self.own_links[name]

    def _write_service(self, operation: AddService | SetService) -> None:
        key, content = operation.key, operation.content
        check_service(key, content)
        if isinstance(operation, AddService):
            _require(key not in self.services, errno.EEXIST)
        else:
            _require(key in self.services, errno.ESRCH)
        _require(content.scheduler in SCHEDULERS or content.scheduler == "none", errno.ENOENT)
        destinations = self.services[key].destinations if key in self.services else {}
        self.services[key] = Service(content, destinations)

    def _write_destination(self, operation: AddDestination | SetDestination) -> None:
        service, key, content = operation.service, operation.key, operation.content
        check_destination(key, content)
        _require(service in self.services, errno.ESRCH)
        same_family = key.address.version == service.address.version
        _require(same_family or content.method == ForwardingMethod.TUNNEL, errno.EINVAL)
        _require(same_family or not self.failover.daemons, errno.EINVAL)
        _require(content.tunnel.type != TunnelType.GUE or content.tunnel.port != 0, errno.EINVAL)
        present = key in self.services[service].destinations
        if isinstance(operation, AddDestination):
            _require(not present, errno.EEXIST)
            _require(_unicast(key.address), errno.EINVAL)
        else:
            _require(present, errno.ENOENT)
        self.set_destination(service, key, content)

    def _add_address(self, address: LinkAddress) -> None:
        check_address(address)
        _require(address.link in self.links, errno.ENODEV)
        ip = address.address
        if isinstance(ip, IPv6Address):  # one prefix per address and link; IPv4 may have the same address twice
            _require(not (ip.is_unspecified or ip.is_multicast), errno.EADDRNOTAVAIL)
            taken = any(other.link == address.link and other.address == ip for other in self.addresses)
            _require(not taken, errno.EEXIST)
        _require(address not in self.addresses, errno.EEXIST)
        self.addresses.add(address)

    def _write_sysctl(self, name: str, value: str) -> None:
        _require(name in self.sysctls, errno.ENOENT)
        words = value.split()
        _require(len(words) >= 1 and all(word.lstrip("-").isdigit() for word in words), errno.EINVAL)
        self.sysctls[name] = " ".join(words)
        if name == _FORWARDING and words != ["0"]:
            self.routers = {link for link in self.routers if self.sysctls[_accept_ra(link)] == "2"}


def _accept_ra(link: str) -> str:
    return f"net.ipv6.conf.{link.replace('.', '/')}.accept_ra"


def _means(asked: str, name: str) -> bool:
    """Return whether a setting was asked for; a part that is ``*`` stands for all."""
    pairs = list(zip(asked.split("."), name.split("."), strict=False))
    return asked.count(".") == name.count(".") and all(one in ("*", other) for one, other in pairs)


def _require(condition: bool, number: int) -> None:
    if not condition:
        raise RefusedError(number)


def _unicast(address: IPAddress) -> bool:
    """Tell whether the kernel takes it for a host's address (``ip_vs_new_dest``); subnet broadcasts are not known."""
    if isinstance(address, IPv6Address):
        return not (address.is_multicast or address.is_unspecified or address.is_link_local)
    return not (address.is_multicast or address.packed[0] == 0 or address.packed == b"\xff\xff\xff\xff")
