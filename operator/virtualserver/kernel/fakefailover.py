"""The fake kernel's half of failover: keepalived's elections and the sync daemons, with their refusals."""

from __future__ import annotations

import errno
from typing import Protocol

from virtualserver.kernel.keepalived import check_instances
from virtualserver.kernel.refusals import RefusedError, check_daemon
from virtualserver.model.failover import Instance, SyncDaemon, SyncRole, token
from virtualserver.model.operations import (
    Allow,
    ConfigureInstances,
    DaemonOperation,
    Forbid,
    StartDaemon,
    StopDaemon,
    VrrpOperation,
)
from virtualserver.model.types import LinkAddress, OwnLink, Service, ServiceKey


class Node(Protocol):
    """What of the fake kernel elections and mirroring touch."""

    links: set[str]
    own_links: dict[str, OwnLink]
    addresses: set[LinkAddress]
    services: dict[ServiceKey, Service]


class FakeFailover:
    """``lost`` names groups whose election another director wins; this node wins all others as soon as it may.

    Without ``electing`` keepalived is dead.
    """

    def __init__(self) -> None:
        self.instances: dict[str, Instance] = {}
        self.eligible: set[str] = set()
        self.lost: set[str] = set()
        self.electing = True
        self.daemons: dict[SyncRole, SyncDaemon] = {}

    def do(self, operation: VrrpOperation | DaemonOperation, node: Node) -> None:
        """Do one operation; raises RefusedError."""
        match operation:
            case ConfigureInstances(instances):
                check_instances(instances)
                before, self.instances = self.instances, {one.group: one for one in instances}
                self.eligible &= before.keys() & self.instances.keys()
                for group, one in before.items():
                    self._release(group, one, node)
            case Allow(group):
                _require(group in self.instances, errno.ENOENT)
                self.eligible.add(group)
            case Forbid(group):
                self.eligible.discard(group)
            case StartDaemon(daemon):
                self._start(daemon, node)
            case StopDaemon(role):
                _require(role in self.daemons, errno.ESRCH)
                del self.daemons[role]
        self.elect(node)

    def elect(self, node: Node) -> None:
        """Do at once what keepalived does in some milliseconds: hold the addresses of groups that this node wins."""
        for group, one in self.instances.items():
            if group in self.eligible - self.lost and one.link in node.links:
                node.addresses.update((token(one.router_id), *one.addresses))
            else:
                self._release(group, one, node)

    def _release(self, group: str, one: Instance, node: Node) -> None:
        kept = self.instances.get(group)
        holds = kept is not None and group in self.eligible - self.lost
        staying = {token(kept.router_id), *kept.addresses} if kept is not None and holds else set()
        node.addresses.difference_update({token(one.router_id), *one.addresses} - staying)

    def _start(self, daemon: SyncDaemon, node: Node) -> None:
        check_daemon(daemon)
        mixed = any(
            key.address.version != one.address.version
            for key, service in node.services.items()
            for one in service.destinations
        )
        _require(not mixed, errno.EINVAL)
        _require(daemon.link in node.links, errno.ENODEV)
        _require(daemon.role not in self.daemons, errno.EEXIST)
        down = daemon.link in node.own_links and not node.own_links[daemon.link].up
        _require(daemon.role is SyncRole.RECEIVER or not down, errno.ENETUNREACH)
        self.daemons[daemon.role] = daemon


def _require(condition: bool, number: int) -> None:
    if not condition:
        raise RefusedError(number)
