from __future__ import annotations

import asyncio
from typing import Any

from unit import builders
from unit.virtualtime import run
from virtualserver.controller.agents import FAILURES, PROVED, Agents

URL = "http://192.0.2.1:9440/healthz"


class Case:
    """One director that is asked; ``others`` are nodes beside it."""

    def __init__(
        self, *addresses: str, active: str | None = "director-1", others: tuple[dict[str, Any], ...] = ()
    ) -> None:
        self.store = builders.store(
            groups=[builders.director_group(active=active)],
            nodes=[builders.node("director-1", *(addresses or ("192.0.2.1",))), *others],
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


def test_all_directors_are_asked_and_nobody_else() -> None:
    worker = builders.node("worker", "192.0.2.3")
    worker["metadata"]["labels"] = {}

    async def test(it: Case) -> None:
        await it.rounds()
        assert it.asked == [URL, "http://192.0.2.2:9440/healthz"]

    case(test, others=(builders.node("director-2", "192.0.2.2"), worker), active=None)


def test_an_active_director_that_has_lost_its_label_is_asked_still() -> None:
    async def test(it: Case) -> None:
        node = builders.node("director-1", "192.0.2.1")
        node["metadata"]["labels"] = {}
        it.store.replace("Node", [node])
        await it.rounds()
        assert it.asked == [URL]

    case(test)


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


def test_a_node_that_is_gone_is_forgotten() -> None:
    async def test(it: Case) -> None:
        await it.rounds(FAILURES)
        it.store.replace("Node", [])
        assert await it.rounds() == frozenset()

    case(test)


def test_who_waits_for_the_next_round_is_told_once_and_which_answers_it_had() -> None:
    async def test(it: Case) -> None:
        it.alive = {URL}
        await it.rounds()
        assert (it.changes, it.agents.rounds, it.agents.answered) == (0, 1, {"director-1": 1})
        it.agents.again()
        it.alive = set()
        await it.rounds(2)
        assert (it.changes, it.agents.rounds, it.agents.answered) == (1, 3, {"director-1": 1})

    case(test)
