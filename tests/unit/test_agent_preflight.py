"""When preflight looks, and what it tells: never in the loop's way, never twice the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from ipaddress import ip_address

import pytest

from unit.builders import WEB, store, virtual_server
from unit.virtualtime import now, run
from virtualserver.agent.preflight import EVERY, Found, Preflight
from virtualserver.api.reasons import Reason
from virtualserver.kernel.port import KernelError
from virtualserver.model.facts import Facts, LinkFact, Questions, Route
from virtualserver.model.types import State
from virtualserver.plan.preflight import Scene
from virtualserver.plan.verdicts import judge
from virtualserver.plan.world import World

RS = ip_address("198.18.1.21")
BROKEN = Facts(routes={RS: Route(refused="network is unreachable")})


class Eyes:
    def __init__(self, facts: Facts | None = None) -> None:
        self.facts, self.error = facts or Facts(), ""
        self.looks: list[float] = []

    def links(self) -> Mapping[str, LinkFact]:
        return {}

    def look(self, asked: Questions) -> Facts:
        if self.error:
            raise KernelError(self.error)
        self.looks.append(now())
        return self.facts


@pytest.fixture(autouse=True)
def threads_are_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time does not pass while a thread works; what is tested here is when, not where."""

    async def call(function: Callable[..., Found], *arguments: object) -> Found:
        return function(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", call)


def world() -> World:
    return store(virtual_servers=[virtual_server()]).world()


def scene(known: World) -> Scene:
    return Scene(known, judge(known), "director-1", State())


class Watched:
    """Preflight running over one world, and all that it told."""

    def __init__(self, eyes: Eyes) -> None:
        self.eyes, self.known, self.told = eyes, world(), list[Found]()
        self.preflight = Preflight(eyes, lambda: scene(self.known), self.told.append, now)

    async def during(self, seconds: float) -> None:
        task = asyncio.create_task(self.preflight.run())
        await asyncio.sleep(seconds)
        task.cancel()


def test_a_fault_is_told_when_a_second_look_saw_it_and_once() -> None:
    async def check() -> None:
        watched = Watched(Eyes(BROKEN))
        await watched.during(60)
        first, second = watched.told
        assert first == {WEB: ()}
        assert [fault.reason for fault in second[WEB]] == [Reason.NO_ROUTE_TO_REAL_SERVER]
        assert watched.eyes.looks[1] - watched.eyes.looks[0] < EVERY / 2 + 1

    run(check())


def test_a_steady_world_is_looked_at_now_and_then() -> None:
    async def check() -> None:
        watched = Watched(Eyes())
        await watched.during(60)
        assert 60 / EVERY - 1 <= len(watched.eyes.looks) <= 60 / EVERY + 1

    run(check())


def test_a_changed_world_is_looked_at_soon() -> None:
    async def check() -> None:
        watched = Watched(Eyes())
        task = asyncio.create_task(watched.preflight.run())
        await asyncio.sleep(7)
        before = len(watched.eyes.looks)
        watched.known = world()
        await asyncio.sleep(1.5)
        assert len(watched.eyes.looks) == before + 1
        task.cancel()

    run(check())


def test_a_fault_that_is_gone_is_told_no_more() -> None:
    async def check() -> None:
        watched = Watched(Eyes(BROKEN))
        task = asyncio.create_task(watched.preflight.run())
        await asyncio.sleep(10)
        watched.eyes.facts = Facts()
        await asyncio.sleep(EVERY + 1)
        assert watched.told[-1] == {WEB: ()}
        task.cancel()

    run(check())


def test_one_that_cannot_look_says_so() -> None:
    async def check() -> None:
        watched = Watched(Eyes())
        watched.eyes.error = "cannot ask the neighbours: Operation not permitted"
        await watched.during(20)
        ((fault,),) = watched.told[-1].values()
        assert fault.reason is Reason.PREFLIGHT_FAILED
        assert "not permitted" in fault.message

    run(check())
