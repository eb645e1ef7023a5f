from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from unit.fakeapi import FakeApi, managed
from unit.virtualtime import run
from virtualserver.cluster.errors import ApiError
from virtualserver.cluster.managed import agent_manager
from virtualserver.cluster.resources import VIRTUAL_SERVERS, Resource
from virtualserver.controller.leftovers import AGAIN, EVERY, GRACE, Leftovers
from virtualserver.plan.world import Json, ObjectKey

KEY = ObjectKey("default", "web")
OLD, NEW = agent_manager("old"), agent_manager("new")
BOTH, ONLY_NEW = frozenset({"old", "new"}), frozenset({"new"})
SOON = GRACE + 2 * EVERY


def entry(node: str) -> dict[str, Any]:
    return {"directors": [{"node": node, "role": "Standby"}]}


def condition(state: str) -> dict[str, Any]:
    return {"conditions": [{"type": "Programmed", "status": state, "reason": "R"}]}


class SharedApi(FakeApi):
    """Several managers have parts of one object; an applied part replaces the one before, an empty one removes it."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, Json] = {}
        self.emptied: list[str] = []
        self.add(KEY)

    async def apply_status(self, resource: Resource, key: ObjectKey, body: Json, manager: str) -> dict[str, Any]:
        await super().apply_status(resource, key, body, manager)
        assert "status" not in body
        del self.parts[manager]
        self.emptied.append(manager)
        return self.seen()

    def seen(self) -> dict[str, Any]:
        obj = self.get(KEY)
        obj["metadata"]["managedFields"] = [managed(manager, part) for manager, part in self.parts.items()]
        return obj


class Case:
    """Leftovers of one virtual server."""

    def __init__(self) -> None:
        self.api = SharedApi()
        self.leftovers = Leftovers(self.api, VIRTUAL_SERVERS)

    def say(self, manager: str, part: dict[str, Any]) -> None:
        self.api.parts[manager] = part
        self.see()

    def see(self) -> None:
        self.leftovers.put("VirtualServer", self.api.seen())

    @property
    def emptied(self) -> list[str]:
        return self.api.emptied


def case(test: Callable[[Case], Awaitable[None]]) -> None:
    async def main() -> None:
        it = Case()
        task = asyncio.create_task(it.leftovers.run())
        await test(it)
        task.cancel()
        await it.api.gate.close()

    run(main())


def test_the_words_of_a_former_director_go_and_those_of_the_others_stay() -> None:
    async def test(it: Case) -> None:
        it.say(OLD, entry("old"))
        it.say(NEW, entry("new"))
        it.leftovers.set(KEY, BOTH)
        await asyncio.sleep(100)
        assert it.emptied == []
        it.leftovers.set(KEY, ONLY_NEW)
        await asyncio.sleep(GRACE - EVERY)
        assert it.emptied == [], "a living agent does it itself"
        await asyncio.sleep(100)
        assert it.emptied == [OLD]

    case(test)


def test_one_that_takes_its_words_back_or_is_a_director_again_is_left_alone() -> None:
    async def test(it: Case) -> None:
        it.say(OLD, entry("old"))
        it.leftovers.set(KEY, ONLY_NEW)
        await asyncio.sleep(1)
        del it.api.parts[OLD]
        it.see()
        await asyncio.sleep(100)
        it.say(OLD, entry("old"))
        await asyncio.sleep(1)
        it.leftovers.set(KEY, BOTH)
        await asyncio.sleep(100)
        assert it.emptied == []

    case(test)


def test_nothing_is_removed_before_the_cluster_is_known() -> None:
    async def test(it: Case) -> None:
        it.say(OLD, entry("old"))
        await asyncio.sleep(100)
        assert it.emptied == []
        it.leftovers.set(KEY, ONLY_NEW)
        await asyncio.sleep(SOON)
        assert it.emptied == [OLD]

    case(test)


def test_a_condition_that_nobody_has_written_over_stays_until_somebody_has() -> None:
    async def test(it: Case) -> None:
        it.say(OLD, entry("old") | condition("True"))
        it.say(agent_manager("older"), condition("True"))
        it.leftovers.set(KEY, ONLY_NEW)
        await asyncio.sleep(100)
        assert it.emptied == [], "else the condition would be lost"
        it.say(NEW, condition("True"))
        await asyncio.sleep(SOON)
        assert set(it.emptied) == {OLD, agent_manager("older")}

    case(test)


def test_a_refusal_is_told_and_tried_again_later() -> None:
    async def test(it: Case) -> None:
        tries: list[float] = []

        def refuse() -> ApiError:
            tries.append(0)
            return ApiError(403, "forbidden")

        it.api.refuse = refuse
        it.say(OLD, entry("old"))
        it.leftovers.set(KEY, ONLY_NEW)
        await asyncio.sleep(SOON + 3 * AGAIN)
        assert 3 <= len(tries) <= 4
        it.api.refuse = lambda: None
        await asyncio.sleep(AGAIN + EVERY)
        assert it.emptied == [OLD]

    case(test)


def test_an_outage_is_waited_for() -> None:
    async def test(it: Case) -> None:
        it.api.down = True
        it.say(OLD, entry("old"))
        it.leftovers.set(KEY, ONLY_NEW)
        await asyncio.sleep(600)
        it.api.down = False
        await asyncio.sleep(SOON)
        assert it.emptied == [OLD]

    case(test)


def test_a_virtual_server_that_is_gone_is_forgotten() -> None:
    async def test(it: Case) -> None:
        it.say(OLD, entry("old"))
        it.leftovers.set(KEY, ONLY_NEW)
        del it.api.objects[KEY]
        await asyncio.sleep(100)
        it.api.add(KEY)
        it.see()
        await asyncio.sleep(100)
        assert it.emptied == [], "nobody has said again who may report of it"
        it.leftovers.set(KEY, ONLY_NEW)
        it.leftovers.replace("VirtualServer", [])
        await asyncio.sleep(100)
        assert it.emptied == []

    case(test)
