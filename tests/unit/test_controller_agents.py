from __future__ import annotations

import asyncio
from typing import Any

from unit import builders
from unit.virtualtime import run
from virtualserver.controller.agents import FAILURES, PROVED, Agents

URL = "http://192.0.2.1:9440/healthz"


class Case:
    def __init__(self, *addresses: str, active: str | None = "director-1") -> None:
        self.store = builders.store(
            groups=[builders.director_group(active=active)],
            nodes=[
                builders.node("director-1", *(addresses or ("192.0.2.1",))),
                builders.node("director-2", "192.0.2.2"),
            ],
        )
        self.changes = 0
        self.asked: list[str] = []
        self.alive: set[str] = set()
        self.agents = Agents(9440, self.store.world, self.count)

    def count(self) -> None:
        self.changes += 1

    async def ask(self, url: str) -> bool:
        self.asked.append(url)
        return url in self.alive

    async def rounds(self, count: int = 1) -> frozenset[str]:
        for _ in range(count):
            await self.agents.round(self.ask)
        return self.agents.unreachable


def case(test: Any, *arguments: Any, **options: Any) -> None:
    async def main() -> None:
        await test(Case(*arguments, **options))

    run(main())


def test_three_answers_missed_in_a_row_and_the_first_answer_ends_it() -> None:
    async def test(it: Case) -> None:
        assert await it.rounds(FAILURES - 1) == frozenset()
        assert await it.rounds() == {"director-1"}
        assert it.changes == 1
        assert await it.rounds(10) == {"director-1"}
        assert it.changes == 1
        it.alive = {URL}
        assert await it.rounds() == frozenset()
        assert it.changes == 2
        it.alive = set()
        assert await it.rounds(FAILURES - 1) == frozenset()

    case(test)


def test_only_active_directors_are_asked() -> None:
    async def test(it: Case) -> None:
        await it.rounds()
        assert it.asked == [URL]

    async def none(it: Case) -> None:
        await it.rounds()
        assert it.asked == []

    case(test)
    case(none, active=None)


def test_one_address_that_answers_is_enough() -> None:
    async def test(it: Case) -> None:
        it.alive = {"http://[fd00::1]:9440/healthz"}
        assert await it.rounds(5) == frozenset()
        assert set(it.asked) == {URL, *it.alive}

    case(test, "192.0.2.1", "fd00::1")


def test_an_agent_that_writes_lives_although_it_does_not_answer() -> None:
    async def test(it: Case) -> None:
        await it.rounds(FAILURES)
        it.agents.heard("director-1")
        assert it.changes == 2
        assert await it.rounds(5) == frozenset()
        await asyncio.sleep(PROVED + 1)
        assert await it.rounds() == {"director-1"}, "a proof does not last for ever"

    case(test)


def test_an_answer_makes_the_proof_superfluous() -> None:
    async def test(it: Case) -> None:
        await it.rounds(FAILURES)
        it.agents.heard("director-1")
        it.alive = {URL}
        await it.rounds()
        it.alive = set()
        assert await it.rounds(FAILURES) == {"director-1"}

    case(test)


def test_a_director_that_is_active_no_more_is_forgotten() -> None:
    async def test(it: Case) -> None:
        await it.rounds(FAILURES)
        it.store.replace("DirectorGroup", [builders.director_group(active="director-2")])
        assert await it.rounds() == frozenset()

    case(test)
