"""Who is named as the active director while that changes hands, as two agents write it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from unit.builders import director
from unit.fakeapi import FakeApi, managed
from unit.virtualtime import run
from virtualserver.agent.groups import HOLD, GroupStatuses
from virtualserver.cluster.managed import agent_manager
from virtualserver.cluster.resources import Resource
from virtualserver.plan.world import Json, ObjectKey

KEY = ObjectKey("", "default")
ONE, TWO = "director-1", "director-2"


def active(node: str, reason: str = "First") -> dict[str, Any]:
    failover = {"node": node, "reason": reason, "message": "m"}
    return {"directors": [director(node)], "activeDirector": node, "lastFailover": failover}


def standby(node: str) -> dict[str, Any]:
    return {"directors": [director(node, "Standby")]}


class SharedApi(FakeApi):
    """Two managers with forced applies: what one says of ownership, the other loses."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, dict[str, Any]] = {}
        self.watchers: list[GroupStatuses] = []
        self.named: list[str | None] = []
        self.add(KEY)

    async def apply_status(self, resource: Resource, key: ObjectKey, body: Json, manager: str) -> dict[str, Any]:
        if manager == agent_manager(ONE):
            await asyncio.sleep(0.005)  # the first director's way is the longer one: its writes arrive last
        await super().apply_status(resource, key, body, manager)
        said = dict(body.get("status", {}))
        for other in self.parts.values():
            for name in ("activeDirector", "lastFailover"):
                if name in said:
                    other.pop(name, None)
        self.parts[manager] = said
        obj = self.seen()
        self.named.append(obj["status"].get("activeDirector"))
        for watcher in self.watchers:
            asyncio.get_running_loop().call_later(0.01, watcher.writer.observe, obj)
        return obj

    def seen(self) -> dict[str, Any]:
        obj = self.get(KEY)
        status: dict[str, Any] = {}
        for part in self.parts.values():
            status |= {name: value for name, value in part.items() if name != "directors"}
        status["directors"] = [entry for part in self.parts.values() for entry in part.get("directors", [])]
        obj["status"] = status
        obj["metadata"]["managedFields"] = [managed(name, part) for name, part in self.parts.items()]
        return obj


class Case:
    def __init__(self) -> None:
        self.api = SharedApi()
        self.one, self.two = (GroupStatuses(self.api, node) for node in (ONE, TWO))
        self.api.watchers = [self.one, self.two]
        for watcher in self.api.watchers:
            watcher.writer.observe(self.api.get(KEY))

    @property
    def status(self) -> dict[str, Any]:
        made: dict[str, Any] = self.api.seen()["status"]
        return made

    @property
    def roles(self) -> dict[str, str]:
        return {entry["node"]: entry["role"] for entry in self.status["directors"]}


def case(test: Callable[[Case], Awaitable[None]]) -> None:
    async def main() -> None:
        it = Case()
        it.one.set("default", active(ONE))
        it.two.set("default", standby(TWO))
        await asyncio.sleep(5)
        assert it.status["activeDirector"] == ONE
        it.api.named.clear()
        await test(it)
        await it.one.close()
        await it.two.close()

    run(main())


def test_who_takes_over_is_named_and_the_one_before_lets_it() -> None:
    async def test(it: Case) -> None:
        it.two.set("default", active(TWO, "DirectorYielded"))
        await asyncio.sleep(0.2)
        it.one.set("default", standby(ONE))
        await asyncio.sleep(10)
        assert it.status["activeDirector"] == TWO
        assert it.status["lastFailover"]["reason"] == "DirectorYielded"
        assert it.roles == {ONE: "Standby", TWO: "Active"}
        assert set(it.api.named) == {TWO}, "never another, never nobody"

    case(test)


def test_a_hand_over_at_the_same_moment_has_one_outcome() -> None:
    async def test(it: Case) -> None:
        it.two.set("default", active(TWO, "Requested"))
        it.one.set("default", standby(ONE))
        await asyncio.sleep(10)
        assert it.roles == {ONE: "Standby", TWO: "Active"}
        assert set(it.api.named) == {TWO}
        it.api.named.clear()
        it.one.set("default", active(ONE, "Requested"))
        it.two.set("default", standby(TWO))
        await asyncio.sleep(10)
        assert it.roles == {ONE: "Active", TWO: "Standby"}
        assert set(it.api.named) == {ONE}

    case(test)


def test_one_that_yields_first_stays_named_until_it_is_taken_over() -> None:
    async def test(it: Case) -> None:
        it.one.set("default", standby(ONE))
        await asyncio.sleep(0.2)
        it.two.set("default", active(TWO))
        await asyncio.sleep(10)
        assert it.roles == {ONE: "Standby", TWO: "Active"}
        assert set(it.api.named) == {TWO}

    case(test)


def test_when_nobody_takes_over_nobody_is_named() -> None:
    async def test(it: Case) -> None:
        it.one.set("default", standby(ONE))
        await asyncio.sleep(HOLD - 0.1)
        assert it.status["activeDirector"] == ONE
        await asyncio.sleep(2)
        assert "activeDirector" not in it.status
        assert "lastFailover" not in it.status
        it.two.set("default", active(TWO))
        await asyncio.sleep(2)
        assert it.status["activeDirector"] == TWO

    case(test)


def test_two_that_are_active_do_not_fight_over_the_name() -> None:
    async def test(it: Case) -> None:
        it.two.set("default", active(TWO, "DirectorLost"))
        await asyncio.sleep(60)
        assert it.roles == {ONE: "Active", TWO: "Active"}
        assert it.api.named == [TWO]
        it.one.set("default", active(ONE) | {"directors": [director(ONE, priority=7)]})
        await asyncio.sleep(60)
        assert it.api.named == [TWO, TWO], "what else one of them has to say is said"

    case(test)


def test_the_owner_that_is_left_is_named_again() -> None:
    async def test(it: Case) -> None:
        it.two.set("default", active(TWO, "DirectorLost"))
        await asyncio.sleep(5)
        it.two.set("default", standby(TWO))
        await asyncio.sleep(5)
        assert it.status["activeDirector"] == ONE
        assert it.roles == {ONE: "Active", TWO: "Standby"}

    case(test)


def test_the_owner_that_is_left_is_named_when_the_other_is_called_unknown() -> None:
    async def test(it: Case) -> None:
        it.two.set("default", active(TWO, "DirectorLost"))
        await asyncio.sleep(5)
        await it.two.close()
        it.api.watchers = [it.one]
        it.api.parts[agent_manager(TWO)]["directors"][0]["role"] = "Unknown"
        it.api.version += 1
        it.api.objects[KEY]["metadata"]["resourceVersion"] = str(it.api.version)
        it.one.writer.observe(it.api.seen())
        await asyncio.sleep(5)
        assert it.status["activeDirector"] == ONE

    case(test)


def test_one_that_becomes_active_anew_is_named() -> None:
    async def test(it: Case) -> None:
        it.two.set("default", active(TWO))
        await asyncio.sleep(2)
        it.one.set("default", standby(ONE))
        await asyncio.sleep(2)
        it.two.set("default", standby(TWO))
        it.one.set("default", active(ONE, "DirectorYielded"))
        await asyncio.sleep(5)
        assert it.status["activeDirector"] == ONE
        assert it.status["lastFailover"]["reason"] == "DirectorYielded"

    case(test)


def test_a_node_that_is_no_director_any_more_takes_all_of_it_back() -> None:
    async def test(it: Case) -> None:
        it.one.set("default", None)
        await asyncio.sleep(5)
        assert it.roles == {TWO: "Standby"}
        assert "activeDirector" not in it.status

    case(test)
