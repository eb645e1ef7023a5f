"""A standby tells how well it is kept in step, and mends what it can."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from unit.builders import node, store, virtual_server
from unit.standby import GROUP, RECEIVER, UP, Case, following, line
from unit.standby import threads_are_calls as threads_are_calls
from unit.virtualtime import now
from virtualserver.agent.following import EVERY, PATIENCE, REPAIR, Hands
from virtualserver.agent.mirror import Mirror
from virtualserver.api.enums import MirrorState
from virtualserver.api.failover import MirrorReport
from virtualserver.kernel.port import KernelError
from virtualserver.model.connections import Connection
from virtualserver.model.failover import SyncDaemon
from virtualserver.plan import desired
from virtualserver.plan.verdicts import judge

pytestmark = pytest.mark.usefixtures("threads_are_calls")


def test_a_steady_state_wakes_nobody_and_asks_now_and_then() -> None:
    case = Case(*range(1000, 1050))

    async def check() -> None:
        await asyncio.sleep(20)
        wakes, asked = case.wakes, case.asked
        for second in range(100):
            newest = line(2000 + second)  # comes, is mirrored a moment later, and ends
            case.theirs = [*case.theirs[:50], newest]
            await asyncio.sleep(0.9)
            case.own.add(newest)
        assert case.wakes == wakes
        assert 100 / EVERY - 5 < case.asked - asked < 100 / EVERY + 1
        assert case.report == MirrorReport(state=MirrorState.IN_STEP, share="100%", lag="<=10s", message=None)

    following(case, check)


def test_a_mirror_that_is_behind_is_told_and_mended() -> None:
    case = Case(*range(1000, 1050))

    async def check() -> None:
        await asyncio.sleep(REPAIR)
        idle = [line(port) for port in range(3000, 3050)]
        case.theirs += idle
        case.own.add(line(3000))
        await asyncio.sleep(4 * EVERY)
        assert len(case.own) == 100
        assert case.told in (MirrorState.BEHIND, MirrorState.IN_STEP)
        await asyncio.sleep(3 * EVERY)
        assert case.told is MirrorState.IN_STEP

    following(case, check)


@pytest.mark.parametrize("ours", [True, False])
def test_a_deaf_receiver_is_started_again_if_it_is_ours_and_the_rest_is_got(ours: bool) -> None:
    case = Case(1000)

    async def check() -> None:
        await asyncio.sleep(10)
        port = 2000
        while not case.mirror.deaf(GROUP):
            port += 1
            assert port < 2060, "not found out"
            case.theirs.append(line(port))
            await asyncio.sleep(1)
        case.change(daemons=frozenset() if ours else frozenset({RECEIVER}))  # the programmer has stopped it, or may not
        await asyncio.sleep(1 if ours else PATIENCE + 1)
        assert not case.mirror.deaf(GROUP)
        case.change(daemons=frozenset({RECEIVER}))
        await asyncio.sleep(2)
        assert len(case.own) == len(case.theirs)

    following(case, check)


def test_whatever_fails_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(1000)
    broken: list[Exception] = [KernelError("the table cannot be read"), RuntimeError("a slip of ours")]
    plain = case.inject

    def inject(connections: list[Connection], receiver: SyncDaemon) -> int:
        if broken:
            raise broken.pop()
        return plain(connections, receiver)

    case.mirror = Mirror(
        "director-2", case, Hands(lambda: iter(case.own), inject), case, lambda: case.view, case.wake, now
    )

    async def check() -> None:
        await asyncio.sleep(8)
        assert not broken
        assert case.injected == [1000]
        assert not case.mirror.behind(GROUP)

    following(case, check)


def test_a_group_that_is_not_mirrored_any_more_is_let_go() -> None:
    case = Case(1000)
    plain = store(virtual_servers=[virtual_server()], nodes=[node("director-2", "192.0.2.2")]).world()

    async def check() -> None:
        await asyncio.sleep(2)
        case.change(world=plain, plan=desired.plan(plain, judge(plain), lambda *_: UP, "director-2"))
        await asyncio.sleep(1)
        asked = case.asked
        await asyncio.sleep(20)
        assert (case.told, case.asked) == (None, asked)

    following(case, check)


def test_a_group_that_has_just_been_deleted_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """The plan of the last round still has it."""
    case = Case(1000)

    async def check() -> None:
        await asyncio.sleep(1)
        assert case.view is not None
        case.change(world=replace(case.view.world, groups={}))
        await asyncio.sleep(1)
        assert caplog.records == []

    following(case, check)
