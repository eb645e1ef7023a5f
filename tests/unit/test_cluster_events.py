from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from unit.fakeapi import FakeApi
from unit.virtualtime import run
from virtualserver.api.reasons import Reason
from virtualserver.cluster.errors import ApiError
from virtualserver.cluster.events import BURST, QUEUE, EventWriter, Subject
from virtualserver.cluster.resources import DIRECTOR_GROUPS, VIRTUAL_SERVERS
from virtualserver.plan.world import ObjectKey

WEB = Subject(VIRTUAL_SERVERS, ObjectKey("shop", "web"), "uid-1")


def case(test: Callable[[FakeApi, EventWriter], Awaitable[None]]) -> list[Any]:
    async def main() -> list[Any]:
        api = FakeApi()
        writer = EventWriter(api, "agent", "n1", now=lambda: "2026-01-01T00:00:00.000000Z")
        task = asyncio.create_task(writer.run())
        await test(api, writer)
        assert not task.done()
        task.cancel()
        await api.gate.close()
        return [body for _, _, body in api.writes]

    return run(main())


def test_an_event_names_object_reason_and_reporter() -> None:
    async def test(_: FakeApi, writer: EventWriter) -> None:
        writer.warning(WEB, Reason.REAL_SERVER_DOWN, "x" * 2000)
        writer.normal(Subject(DIRECTOR_GROUPS, ObjectKey("", "default"), "uid-2"), Reason.FAILED_OVER, "n1")
        await asyncio.sleep(1)

    down, chosen = case(test)
    assert down["regarding"] == {
        "apiVersion": "virtualserver.dev/v1alpha1",
        "kind": "VirtualServer",
        "namespace": "shop",
        "name": "web",
        "uid": "uid-1",
    }
    assert (down["type"], down["reason"], len(down["note"])) == ("Warning", "RealServerDown", 1024)
    assert (down["reportingController"], down["reportingInstance"]) == ("virtualserver.dev/agent", "n1")
    assert down["metadata"]["namespace"] == "shop"
    assert chosen["metadata"]["namespace"] == "default", "events of cluster-scoped objects need some namespace"
    assert "namespace" not in chosen["regarding"]
    assert chosen["type"] == "Normal"


def test_the_same_event_again_becomes_a_count() -> None:
    async def test(_: FakeApi, writer: EventWriter) -> None:
        for _second in range(60):
            writer.warning(WEB, Reason.REAL_SERVER_DOWN, "198.18.1.21:80 is down")
            await asyncio.sleep(1)

    first, *counts = case(test)
    assert "series" not in first
    assert 3 <= len(counts) <= 6, "one write in ten seconds"
    assert counts[-1]["series"]["count"] > 40


def test_after_the_window_it_is_an_event_of_its_own() -> None:
    async def test(_: FakeApi, writer: EventWriter) -> None:
        for _round in range(2):
            writer.warning(WEB, Reason.REAL_SERVER_DOWN, "down")
            await asyncio.sleep(601)

    assert len([body for body in case(test) if "regarding" in body]) == 2


def test_an_object_that_talks_too_much_is_cut_off_the_others_are_not() -> None:
    async def test(_: FakeApi, writer: EventWriter) -> None:
        for number in range(1000):
            writer.warning(WEB, Reason.REAL_SERVER_DOWN, f"number {number}")
        writer.normal(Subject(VIRTUAL_SERVERS, ObjectKey("shop", "other"), "uid-9"), Reason.ACCEPTED, "fine")
        await asyncio.sleep(1)
        assert writer.dropped == 1000 - BURST

    written = case(test)
    assert len(written) == BURST + 1
    assert written[-1]["regarding"]["name"] == "other"


def test_an_outage_fills_the_queue_and_nothing_blocks_or_raises() -> None:
    async def test(api: FakeApi, writer: EventWriter) -> None:
        api.down = True
        for number in range(3 * QUEUE):
            subject = Subject(VIRTUAL_SERVERS, ObjectKey("shop", f"vs-{number}"), f"uid-{number}")
            writer.warning(subject, Reason.REAL_SERVER_DOWN, "down")
        await asyncio.sleep(60)
        api.down = False
        await asyncio.sleep(10)
        assert writer.dropped >= 2 * QUEUE - 1

    assert QUEUE <= len(case(test)) <= QUEUE + 1


def test_a_refused_event_is_dropped() -> None:
    async def test(api: FakeApi, writer: EventWriter) -> None:
        api.refuse = lambda: ApiError(403, "forbidden")
        writer.warning(WEB, Reason.REAL_SERVER_DOWN, "down")
        await asyncio.sleep(1)
        api.refuse = lambda: None
        writer.warning(WEB, Reason.REAL_SERVER_DOWN, "another")
        await asyncio.sleep(1)
        assert writer.dropped == 1

    assert [body["note"] for body in case(test)] == ["another"]
