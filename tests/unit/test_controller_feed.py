from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from unit.fakeapi import ScriptedApi
from unit.virtualtime import run
from virtualserver.cluster.errors import ApiError, NotFound, Unreachable
from virtualserver.cluster.resources import VIRTUAL_SERVERS, WATCHED
from virtualserver.controller.feed import Feed
from virtualserver.plan.world import Json, ObjectKey, key_of

KIND = VIRTUAL_SERVERS.kind


def obj(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", "resourceVersion": str(version)}}


class Versions:
    """A sink that keeps the version it was told last."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def replace(self, _kind: str, objects: Iterable[Json]) -> None:
        raise AssertionError("a feed tells objects one by one")

    def put(self, _kind: str, one: Json) -> bool:
        if key_of(one).name == "bad":
            raise ValueError("cannot be read")
        self.known[key_of(one).name] = one["metadata"]["resourceVersion"]
        return True

    def drop(self, _kind: str, key: ObjectKey) -> None:
        del self.known[key.name]


class Case:
    def __init__(self) -> None:
        self.sink, self.changes = Versions(), 0
        self.feed = Feed({resource.kind: [self.sink] for resource in WATCHED}, self.count)

    def count(self) -> None:
        self.changes += 1

    def event(self, kind: str | None, name: str, version: int) -> None:
        self.feed.take(VIRTUAL_SERVERS, kind, obj(name, version))

    def listed(self, version: int, *objects: Json) -> None:
        self.feed.listed(VIRTUAL_SERVERS, objects, version)


def test_events_and_lists_are_merged_by_version() -> None:
    it = Case()
    it.event("ADDED", "a", 5)
    it.event("MODIFIED", "a", 9)
    it.listed(7, obj("a", 5))
    assert it.sink.known == {"a": "9"}, "the list is older than the event"
    it.listed(12, obj("a", 11))
    assert it.sink.known == {"a": "11"}


def test_what_a_list_does_not_have_is_gone_unless_it_is_newer_than_the_list() -> None:
    it = Case()
    it.event("ADDED", "old", 5)
    it.event("ADDED", "new", 20)
    it.listed(10)
    assert it.sink.known == {"new": "20"}


def test_a_list_made_before_a_deletion_does_not_bring_the_object_back() -> None:
    it = Case()
    it.event("ADDED", "a", 5)
    it.event("DELETED", "a", 8)
    it.listed(7, obj("a", 5))
    assert it.sink.known == {}
    it.event("ADDED", "a", 9)
    it.listed(10, obj("a", 9))
    assert it.sink.known == {"a": "9"}, "one of the same name that came later is another"


def test_a_late_deletion_of_the_one_before_does_not_remove_the_new_one() -> None:
    it = Case()
    it.event("ADDED", "a", 9)
    it.event("DELETED", "a", 8)
    assert it.sink.known == {"a": "9"}


def test_an_object_that_cannot_be_read_does_not_stop_the_others() -> None:
    it = Case()
    it.listed(10, obj("bad", 5), obj("good", 6))
    assert it.sink.known == {"good": "6"}


def lists(script: list[Any], seconds: float, **more: Any) -> tuple[Case, ScriptedApi]:
    async def main() -> tuple[Case, ScriptedApi]:
        it, api = Case(), ScriptedApi(script, [], **more)
        task = asyncio.create_task(it.feed.list_all(api))
        await asyncio.sleep(seconds)
        assert not task.done()
        task.cancel()
        await api.gate.close()
        return it, api

    return run(main())


def test_nothing_is_complete_before_every_kind_was_listed() -> None:
    it, api = lists([("5", []), ApiError(500, "boom")], 60)
    assert not it.feed.complete.is_set()
    assert len(api.asked) < 40
    it, api = lists([ApiError(500, "boom"), ("5", [])], 10)
    assert it.feed.complete.is_set()


def test_every_kind_is_listed_about_once_a_minute() -> None:
    _, api = lists([("5", [])], 600)
    assert 8 <= len(api.asked) / len(WATCHED) <= 13


def test_an_outage_is_waited_out_without_asking() -> None:
    it, api = lists([Unreachable(0, "refused")], 600, away=True)
    assert len(api.asked) == 1
    assert not it.feed.complete.is_set()


def test_a_kind_that_older_clusters_lack_counts_as_empty() -> None:
    it, _ = lists([("5", [])] * 5 + [NotFound(404, "no servicecidrs"), ("5", [])], 10)
    assert it.feed.complete.is_set()


def test_when_kopf_lists_again_so_do_we_soon_and_once() -> None:
    async def main() -> None:
        it, api = Case(), ScriptedApi([("5", [])], [])
        task = asyncio.create_task(it.feed.list_all(api))
        await asyncio.sleep(5)
        for number in range(100):
            it.event("ADDED", f"vs-{number}", number + 10)
        await asyncio.sleep(5)
        assert len(api.asked) == len(WATCHED), "new objects say nothing about a gap"
        for number in range(100):
            it.event(None, f"vs-{number}", number + 10)
        await asyncio.sleep(1)
        assert len(api.asked) == 2 * len(WATCHED)
        task.cancel()

    run(main())
