from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from unit.fakeapi import FakeApi, managed
from unit.virtualtime import now, run
from virtualserver.cluster.errors import ApiError
from virtualserver.cluster.resources import VIRTUAL_SERVERS
from virtualserver.cluster.status import StatusWriter
from virtualserver.plan.world import ObjectKey

KEY = ObjectKey("default", "web")
ME = "me"


def ready(count: int) -> dict[str, Any]:
    return {"readyRealServers": f"{count}/3"}


def down(state: str = "Down") -> dict[str, Any]:
    return {"realServers": [{"address": "198.18.1.21", "port": 80, "state": state, "weight": 1}]}


class Case:
    """A writer on a fake API that holds one virtual server."""

    def __init__(self, **options: Any) -> None:
        self.api = FakeApi()
        self.first = self.api.add(KEY)
        clock = iter(range(10_000))
        self.writer = StatusWriter(self.api, VIRTUAL_SERVERS, ME, now=lambda: f"T{next(clock)}", **options)

    @property
    def times(self) -> list[float]:
        return [at - 1000 for at, _, _ in self.api.writes]

    @property
    def wrote(self) -> list[Any]:
        return [status for _, _, status in self.api.writes]


def case(test: Callable[[Case], Awaitable[None]], **options: Any) -> Case:
    async def main() -> Case:
        made = Case(**options)
        await test(made)
        await made.writer.close()
        await made.api.gate.close()
        return made

    return run(main())


def test_a_wish_is_written_at_once() -> None:
    async def test(it: Case) -> None:
        it.writer.observe(it.first)
        it.writer.set(KEY, ready(1))
        await asyncio.sleep(0.001)
        assert it.wrote == [ready(1)]

    case(test)


def test_flapping_costs_one_write_a_second_and_the_last_word_is_written() -> None:
    async def test(it: Case) -> None:
        it.writer.observe(it.first)
        for count in range(101):
            it.writer.set(KEY, ready(count))
            await asyncio.sleep(0.049)
        await asyncio.sleep(5)
        assert it.times == pytest.approx([0, 1, 2, 3, 4, 5], abs=0.06)
        assert it.wrote[-1] == ready(100)
        it.writer.set(KEY, ready(0))
        asked = now() - 1000
        await asyncio.sleep(0.001)
        assert it.times[-1] == asked, "after a quiet second the first write goes at once"

    case(test)


def test_the_same_again_writes_nothing() -> None:
    async def test(it: Case) -> None:
        it.writer.observe(it.first)
        for _ in range(5):
            it.writer.set(KEY, down())
            await asyncio.sleep(2)
            it.writer.observe(it.api.get(KEY))

    assert len(case(test).wrote) == 1


def test_an_object_that_was_not_seen_is_not_written_until_it_is() -> None:
    async def test(it: Case) -> None:
        it.writer.set(KEY, ready(1))
        it.writer.set(KEY, ready(2))
        await asyncio.sleep(10)
        assert it.wrote == []
        it.writer.observe(it.first)
        await asyncio.sleep(0.001)
        assert it.wrote == [ready(2)]

    case(test)


@pytest.mark.parametrize("seen_first", [True, False], ids=["the new one is seen", "not yet"])
def test_what_was_found_out_about_a_deleted_object_is_not_said_of_the_next_of_that_name(seen_first: bool) -> None:
    async def test(it: Case) -> None:
        it.writer.observe(it.first)
        it.writer.drop("", KEY)
        second = it.api.add(KEY)
        if seen_first:
            it.writer.observe(second)
        it.writer.set(KEY, ready(1), it.first["metadata"]["uid"])
        it.writer.observe(second)
        await asyncio.sleep(2)
        assert it.wrote == []
        it.writer.set(KEY, ready(2), second["metadata"]["uid"])
        await asyncio.sleep(0.001)
        assert it.wrote == [ready(2)]

    case(test)


def test_what_the_last_run_wrote_and_nobody_wants_is_removed() -> None:
    async def test(it: Case) -> None:
        obj = it.first | {"status": ready(1) | {"activeDirector": "n1"}}
        obj["metadata"]["managedFields"] = [managed(ME, obj["status"])]
        it.writer.observe(obj)
        it.writer.set(KEY, ready(1))
        await asyncio.sleep(2)
        assert it.wrote == [ready(1)]

    case(test)


def test_none_removes_all_of_ours_and_only_once() -> None:
    async def test(it: Case) -> None:
        it.writer.observe(it.first)
        it.writer.set(KEY, None)
        await asyncio.sleep(2)
        assert it.wrote == []
        it.writer.set(KEY, ready(1))
        await asyncio.sleep(2)
        it.writer.set(KEY, None)
        await asyncio.sleep(2)
        assert it.wrote == [ready(1), {}]

    case(test)


def test_what_others_overwrite_is_taken_back() -> None:
    async def test(it: Case) -> None:
        it.writer.observe(it.first)
        it.writer.set(KEY, ready(1))
        await asyncio.sleep(2)
        stolen = it.api.add(KEY, status=ready(3))
        stolen["metadata"]["uid"] = it.first["metadata"]["uid"]
        it.writer.observe(stolen)
        await asyncio.sleep(2)
        assert it.wrote == [ready(1), ready(1)]

    case(test)


def test_a_writer_that_gives_way_stays_silent_until_it_has_something_else_to_say() -> None:
    taken: list[ObjectKey] = []

    def give_way(key: ObjectKey) -> bool:
        taken.append(key)
        return True

    async def test(it: Case) -> None:
        it.writer.observe(it.first)
        it.writer.set(KEY, ready(1))
        await asyncio.sleep(2)
        stolen = it.api.add(KEY, status=ready(3))
        stolen["metadata"]["uid"] = it.first["metadata"]["uid"]
        it.writer.observe(stolen)
        await asyncio.sleep(20)
        assert it.wrote == [ready(1)]
        assert taken == [KEY]
        it.writer.set(KEY, ready(2))
        await asyncio.sleep(2)
        assert it.wrote == [ready(1), ready(2)]

    case(test, on_taken=give_way)


def test_an_old_view_of_an_object_changes_nothing() -> None:
    async def test(it: Case) -> None:
        it.writer.observe(it.first)
        it.writer.set(KEY, ready(1))
        await asyncio.sleep(2)
        it.writer.observe(it.first)
        await asyncio.sleep(2)
        assert len(it.wrote) == 1

    case(test)


def test_through_an_outage_only_the_newest_wish_is_kept() -> None:
    async def test(it: Case) -> None:
        it.writer.observe(it.first)
        it.api.down = True
        for count in range(600):
            it.writer.set(KEY, ready(count))
            await asyncio.sleep(1)
        it.api.down = False
        await asyncio.sleep(2)
        assert it.wrote == [ready(599)]
        assert it.api.probes <= 2 * 600

    case(test)


def test_times_of_an_outage_are_those_of_the_change_not_of_the_write() -> None:
    async def test(it: Case) -> None:
        it.writer.observe(it.first)
        it.api.down = True
        it.writer.set(KEY, down())
        await asyncio.sleep(600)
        it.api.down = False
        await asyncio.sleep(2)
        assert it.wrote[0]["realServers"][0]["since"] == "T0"

    case(test)


@pytest.mark.parametrize("status", [403, 409, 422, 429, 500])
def test_a_refused_write_is_told_and_tried_again_with_growing_pauses(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []

    def refuse() -> ApiError:
        tries.append(now())
        return ApiError(status, "Perhaps is no status")

    async def test(it: Case) -> None:
        it.writer.observe(it.first)
        it.api.refuse = refuse
        it.writer.set(KEY, ready(1))
        await asyncio.sleep(120)
        assert 4 <= len(tries) <= 16
        assert f"status refused: {status}: Perhaps is no status" in caplog.text
        it.api.refuse = lambda: None
        await asyncio.sleep(31)
        assert it.wrote == [ready(1)]

    case(test)


def test_a_new_object_of_the_same_name_does_not_inherit_wishes() -> None:
    async def test(it: Case) -> None:
        it.writer.observe(it.first)
        it.api.down = True
        it.writer.set(KEY, ready(1))
        await asyncio.sleep(5)
        it.api.down = False
        it.writer.observe(it.api.add(KEY))
        await asyncio.sleep(50)
        assert it.wrote == []

    case(test)


def test_a_full_list_drops_what_is_not_in_it() -> None:
    async def test(it: Case) -> None:
        it.writer.replace("VirtualServer", [it.first])
        it.writer.replace("VirtualServer", [])
        it.writer.set(KEY, ready(1))
        await asyncio.sleep(5)
        assert it.wrote == []
        assert it.writer.seen(KEY) is None

    case(test)


def test_fields_that_an_older_definition_drops_are_not_written_for_ever() -> None:
    async def test(it: Case) -> None:
        it.writer.observe(it.first)
        apply = it.api.apply_status

        async def dropping(*arguments: Any) -> dict[str, Any]:
            answer = await apply(*arguments)
            answer["status"].pop("newField")
            answer["metadata"]["managedFields"] = [managed(ME, answer["status"])]
            return answer

        it.api.apply_status = dropping  # type: ignore[assignment, method-assign]  # replaced for this test
        it.writer.set(KEY, ready(1) | {"newField": 1})
        await asyncio.sleep(100)
        assert it.writer.writes == 1

    case(test)


def test_many_objects_are_written_a_few_at_a_time() -> None:
    async def test(it: Case) -> None:
        it.api.delay = 0.1
        keys = [ObjectKey("default", f"web-{number}") for number in range(100)]
        for key in keys:
            it.writer.observe(it.api.add(key))
            it.writer.set(key, ready(1))
        await asyncio.sleep(10)
        assert it.api.most == 8
        assert {key for _, key, _ in it.api.writes} == set(keys)

    case(test)
