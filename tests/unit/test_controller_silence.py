"""Words in the place of a director that does not answer: when they are written, and when they are taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from unit.fakeapi import FakeApi, managed
from unit.test_controller_fallback import Heard
from unit.virtualtime import run
from virtualserver.cluster.managed import agent_manager
from virtualserver.cluster.resources import DIRECTOR_GROUPS, Resource
from virtualserver.controller.silence import MANAGER, Silence, of_group
from virtualserver.plan.world import Json, ObjectKey

KEY = ObjectKey("", "default")
NODE = "director-1"


class SharedApi(FakeApi):
    """One entry, of which agent and controller each have applied members; the last who did has what both say."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, dict[str, Any]] = {}
        self.add(KEY)

    async def apply_status(self, resource: Resource, key: ObjectKey, body: Json, manager: str) -> dict[str, Any]:
        await super().apply_status(resource, key, body, manager)
        (entry,) = body.get("status", {}).get("directors", [{}])
        self.say(manager, dict(entry))
        return self.seen()

    def say(self, manager: str, entry: dict[str, Any]) -> None:
        self.version += 1
        self.parts.pop(manager, None)
        for other in self.parts.values():
            for name in entry.keys() - {"node"}:
                other.pop(name, None)
        if entry:
            self.parts[manager] = entry

    def seen(self) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for part in self.parts.values():
            merged |= part
        obj = self.get(KEY)
        obj["metadata"]["resourceVersion"] = str(self.version)
        obj["metadata"]["managedFields"] = [managed(name, {"directors": [one]}) for name, one in self.parts.items()]
        obj["status"] = {"directors": [merged]} if merged else {}
        return obj


class Case:
    def __init__(self) -> None:
        self.api, self.agents = SharedApi(), Heard()
        self.silence = Silence(self.api, DIRECTOR_GROUPS, of_group, self.agents)
        self.agent_says("Standby")

    def agent_says(self, role: str) -> None:
        said = {"node": NODE, "role": role, "reason": "R", "message": "m", "priority": 250}
        self.api.say(agent_manager(NODE), said if role else {})
        self.silence.put("DirectorGroup", self.api.seen())

    @property
    def entry(self) -> dict[str, Any]:
        directors = self.api.seen()["status"].get("directors", [{}])
        return dict(directors[0])

    async def silent(self, *nodes: str) -> None:
        self.silence.set(frozenset(nodes))
        await asyncio.sleep(3)


def case(test: Callable[[Case], Awaitable[None]]) -> None:
    async def main() -> None:
        it = Case()
        await test(it)
        await it.silence.writer.close()

    run(main())


def test_a_silent_director_is_unknown_until_it_speaks_for_itself() -> None:
    async def test(it: Case) -> None:
        await it.silent()
        assert it.api.writes == []
        await it.silent(NODE)
        assert (it.entry["role"], it.entry["reason"]) == ("Unknown", "DirectorUnreachable")
        assert it.entry["priority"] == 250, "the rest is the agent's"
        await it.silent()
        assert it.entry["role"] == "Unknown", "it answers, but has not spoken: without our words the entry has no role"
        it.agent_says("Active")
        await asyncio.sleep(3)
        assert it.entry["role"] == "Active"
        assert MANAGER not in it.api.parts
        assert it.agents.nodes == []

    case(test)


def test_another_director_that_is_silent_is_none_of_this_entrys_business() -> None:
    async def test(it: Case) -> None:
        await it.silent("director-9")
        assert it.api.writes == []

    case(test)


def test_a_director_that_writes_though_it_does_not_answer_is_heard_and_has_its_way() -> None:
    async def test(it: Case) -> None:
        await it.silent(NODE)
        it.agent_says("Standby")
        assert it.agents.nodes == [NODE]
        await asyncio.sleep(10)
        assert it.entry["role"] == "Standby"
        assert MANAGER not in it.api.parts

    case(test)


def test_what_is_left_of_a_node_that_is_no_director_any_more_goes() -> None:
    async def test(it: Case) -> None:
        await it.silent(NODE)
        it.agent_says("")  # as ``Leftovers`` takes it back
        await asyncio.sleep(3)
        assert it.entry == {}
        await asyncio.sleep(60)
        assert len(it.api.writes) == 2, "and it does not come back"

    case(test)


def test_a_restart_takes_back_what_the_last_run_said() -> None:
    async def test(it: Case) -> None:
        await it.silent(NODE)
        it.silence = Silence(it.api, DIRECTOR_GROUPS, of_group, it.agents)
        it.silence.put("DirectorGroup", it.api.seen())
        await it.silent()
        assert it.entry["role"] == "Unknown"
        it.agent_says("Standby")
        await asyncio.sleep(3)
        assert MANAGER not in it.api.parts

    case(test)
