from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from unit.fakeapi import FakeApi, managed
from unit.virtualtime import run
from virtualserver.controller.fallback import MANAGER, Fallback
from virtualserver.plan.world import ObjectKey

KEY = ObjectKey("default", "web")


def status(reason: str, state: str = "Unknown") -> dict[str, Any]:
    return {"conditions": [{"type": "Programmed", "status": state, "reason": reason}]}


OURS = status("DirectorUnreachable")


class Heard:
    def __init__(self) -> None:
        self.nodes: list[str] = []

    def heard(self, node: str) -> None:
        self.nodes.append(node)


class Case:
    def __init__(self) -> None:
        self.api, self.agents = FakeApi(), Heard()
        self.fallback = Fallback(self.api, self.agents)
        self.fallback.put("VirtualServer", self.api.add(KEY))

    @property
    def wrote(self) -> list[str]:
        made = [body.get("conditions", []) for _, _, body in self.api.writes]
        return [one[0]["reason"] if one else "" for one in made]

    def see(self) -> None:
        self.fallback.put("VirtualServer", self.api.get(KEY))

    def agent_writes(self) -> None:
        """What a forced apply of the agent leaves: its words, our name only on what both say alike."""
        self.api.version += 1
        obj = self.api.objects[KEY]
        obj["status"] = status("Programmed", "True")
        ours = managed(MANAGER, {"conditions": [{"type": "Programmed"}]})
        obj["metadata"] |= {
            "managedFields": [managed("agent", obj["status"]), ours],
            "resourceVersion": str(self.api.version),
        }
        self.see()


def case(test: Callable[[Case], Awaitable[None]]) -> None:
    async def main() -> None:
        it = Case()
        await test(it)
        await it.fallback.writer.close()

    run(main())


@pytest.mark.parametrize("watched", [True, False], ids=["seen by the watch", "before the watch tells"])
def test_our_words_stay_until_another_writer_replaced_them(watched: bool) -> None:
    async def test(it: Case) -> None:
        it.fallback.set(KEY, OURS, "director-1")
        await asyncio.sleep(2)
        if watched:
            it.see()
        it.fallback.set(KEY, None)
        await asyncio.sleep(10)
        assert it.wrote == ["DirectorUnreachable"], "taken back now, the condition would be lost"
        it.agent_writes()
        await asyncio.sleep(2)
        assert it.wrote == ["DirectorUnreachable", ""]
        assert it.agents.nodes == []

    case(test)


def test_an_agent_that_writes_over_our_words_is_alive_and_has_its_way() -> None:
    async def test(it: Case) -> None:
        it.fallback.set(KEY, OURS, "director-1")
        await asyncio.sleep(2)
        it.agent_writes()
        assert it.agents.nodes == ["director-1"]
        await asyncio.sleep(10)
        assert it.wrote == ["DirectorUnreachable"], "no fight"
        it.fallback.set(KEY, None)
        await asyncio.sleep(2)
        assert it.wrote == ["DirectorUnreachable", ""]

    case(test)


def test_other_words_of_ours_are_taken_back_from_whoever_changes_them() -> None:
    async def test(it: Case) -> None:
        it.fallback.set(KEY, status("NoDirector", "False"))
        await asyncio.sleep(2)
        it.agent_writes()
        await asyncio.sleep(2)
        assert it.wrote == ["NoDirector", "NoDirector"]
        assert it.agents.nodes == []

    case(test)


def test_a_restart_takes_back_what_the_last_run_said_once_it_may() -> None:
    async def test(it: Case) -> None:
        obj = it.api.objects[KEY]
        obj["status"] = OURS
        obj["metadata"]["managedFields"] = [managed(MANAGER, OURS)]
        it.see()
        it.fallback.set(KEY, None)
        await asyncio.sleep(5)
        assert it.wrote == []
        it.agent_writes()
        await asyncio.sleep(5)
        assert it.wrote == [""]

    case(test)


def test_with_nothing_said_nothing_is_written() -> None:
    async def test(it: Case) -> None:
        it.fallback.set(KEY, None)
        it.agent_writes()
        await asyncio.sleep(5)
        assert [one for one in it.wrote if one] == []

    case(test)


def test_a_virtual_server_that_is_gone_is_forgotten() -> None:
    async def test(it: Case) -> None:
        it.fallback.set(KEY, OURS, "director-1")
        await asyncio.sleep(2)
        it.fallback.drop("VirtualServer", KEY)
        it.fallback.set(KEY, OURS, "director-1")
        await asyncio.sleep(5)
        assert len(it.wrote) == 1

    case(test)
