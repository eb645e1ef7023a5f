"""What every kernel promises about sync daemons; run against the fake one, and unchanged the real one."""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import ip_address

import pytest

from contract.build import do, refused, server, settings, with_service
from contract.worlds import LINK, World
from virtualserver.kernel.port import Kernel
from virtualserver.model.failover import SyncDaemon, SyncRole
from virtualserver.model.operations import (
    AddDestination,
    AddLink,
    RaiseLink,
    RemoveDestination,
    StartDaemon,
    StopDaemon,
)
from virtualserver.model.types import ForwardingMethod, LinkKind, OwnLink

SENDER = SyncDaemon(SyncRole.SENDER, LINK, 51, ip_address("224.0.0.81"), 8848)
RECEIVER = replace(SENDER, role=SyncRole.RECEIVER, sync_id=0)
BOTH = [SENDER, RECEIVER]
ROLES = pytest.mark.parametrize("daemon", BOTH, ids=lambda one: one.role)
FOREIGN, TUNNEL = server(21, 6), settings(1, ForwardingMethod.TUNNEL)


class TestRunning:
    def test_none_at_first(self, kernel: Kernel) -> None:
        assert kernel.read().daemons == frozenset()

    @ROLES
    def test_what_is_started_is_read_back_and_stops(self, kernel: Kernel, daemon: SyncDaemon) -> None:
        do(kernel, StartDaemon(daemon))
        assert kernel.read().daemons == {daemon}
        do(kernel, StopDaemon(daemon.role))
        assert kernel.read().daemons == frozenset()

    def test_both_at_once(self, kernel: Kernel) -> None:
        do(kernel, *(StartDaemon(one) for one in BOTH))
        assert kernel.read().daemons == set(BOTH)
        do(kernel, StopDaemon(SyncRole.SENDER))
        assert kernel.read().daemons == {RECEIVER}

    @pytest.mark.parametrize(
        "daemon",
        [
            replace(SENDER, port=258),
            replace(RECEIVER, port=65535),
            replace(SENDER, sync_id=255),
            replace(SENDER, group=ip_address("239.255.12.34")),
            replace(SENDER, group=ip_address("ff02::81")),
            replace(RECEIVER, group=ip_address("ff05::8848")),
            replace(SENDER, max_length=1),
            replace(RECEIVER, max_length=1024),
            replace(SENDER, max_length=65507),
        ],
        ids=lambda one: f"{one.role} {one.group} {one.port} {one.sync_id} {one.max_length}",
    )
    def test_every_setting(self, kernel: Kernel, daemon: SyncDaemon) -> None:
        do(kernel, StartDaemon(daemon))
        assert kernel.read().daemons == {daemon}


class TestRefusals:
    @ROLES
    def test_one_of_each_role(self, kernel: Kernel, daemon: SyncDaemon) -> None:
        do(kernel, StartDaemon(daemon))
        assert refused(kernel, StartDaemon(replace(daemon, sync_id=7))).errno == errno.EEXIST

    @ROLES
    def test_nothing_to_stop(self, kernel: Kernel, daemon: SyncDaemon) -> None:
        other = SyncRole.RECEIVER if daemon.role is SyncRole.SENDER else SyncRole.SENDER
        do(kernel, StartDaemon(replace(daemon, role=other)))
        assert refused(kernel, StopDaemon(daemon.role)).errno == errno.ESRCH

    @ROLES
    @pytest.mark.parametrize("link", ["vs-none", "sixteen-letters-", ""])
    def test_no_such_link(self, kernel: Kernel, daemon: SyncDaemon, link: str) -> None:
        assert refused(kernel, StartDaemon(replace(daemon, link=link))).errno == errno.ENODEV

    @ROLES
    @pytest.mark.parametrize("group", ["198.18.0.1", "fd00:18::1"])
    def test_group_of_one_host(self, kernel: Kernel, daemon: SyncDaemon, group: str) -> None:
        assert refused(kernel, StartDaemon(replace(daemon, group=ip_address(group)))).errno == errno.EINVAL

    @pytest.mark.parametrize(
        "daemon",
        [
            replace(SENDER, port=0),
            replace(SENDER, port=65536),
            replace(SENDER, sync_id=256),
            replace(SENDER, max_length=0),
            replace(SENDER, max_length=65508),
            replace(RECEIVER, max_length=1023),
        ],
    )
    def test_numbers_that_would_be_stored_as_others(self, kernel: Kernel, daemon: SyncDaemon) -> None:
        assert refused(kernel, StartDaemon(daemon)).errno == errno.ERANGE

    def test_a_link_that_is_down_takes_but_cannot_send(self, kernel: Kernel) -> None:
        do(kernel, AddLink("vs-down", OwnLink(LinkKind.DUMMY)), StartDaemon(replace(RECEIVER, link="vs-down")))
        sender = StartDaemon(replace(SENDER, link="vs-down"))
        assert refused(kernel, sender).errno == errno.ENETUNREACH
        do(kernel, RaiseLink("vs-down"), sender)


class TestRealServersOfTheOtherFamily:
    """Messages cannot say that a real server is of another family than its virtual server."""

    @ROLES
    def test_keep_daemons_from_starting(self, kernel: Kernel, daemon: SyncDaemon) -> None:
        key = with_service(kernel)
        do(kernel, AddDestination(key, FOREIGN, TUNNEL))
        assert refused(kernel, StartDaemon(daemon)).errno == errno.EINVAL
        do(kernel, RemoveDestination(key, FOREIGN), StartDaemon(daemon))

    @ROLES
    def test_are_kept_out_by_daemons(self, kernel: Kernel, daemon: SyncDaemon) -> None:
        key = with_service(kernel)
        do(kernel, StartDaemon(daemon))
        assert refused(kernel, AddDestination(key, FOREIGN, TUNNEL)).errno == errno.EINVAL
        do(kernel, StopDaemon(daemon.role), AddDestination(key, FOREIGN, TUNNEL))


class TestIndexes:
    def test_tell_a_link_from_another_of_its_name(self, kernel: Kernel, world: World) -> None:
        """A daemon of the first one is deaf from then on, and still said to run."""
        do(kernel, AddLink("vs-a", OwnLink(LinkKind.DUMMY)), RaiseLink("vs-a"))
        daemon = replace(RECEIVER, link="vs-a")
        do(kernel, StartDaemon(daemon))
        before = kernel.read()
        world.remove_link("vs-a")
        gone = kernel.read()
        do(kernel, AddLink("vs-a", OwnLink(LinkKind.DUMMY)), RaiseLink("vs-a"))
        after = kernel.read()
        assert "vs-a" not in gone.indexes
        assert before.indexes["vs-a"] not in after.indexes.values()
        assert before.indexes[LINK] == after.indexes[LINK]
        assert before.daemons == gone.daemons == after.daemons == {daemon}
        assert after.indexes.keys() == after.links
