from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from unit.fakeapi import ScriptedApi
from unit.virtualtime import now, run
from virtualserver.cluster.errors import ApiError, Gone, NotFound, Unreachable
from virtualserver.cluster.pacing import Backoff
from virtualserver.cluster.resources import SERVICE_CIDRS, VIRTUAL_SERVERS, Resource
from virtualserver.cluster.watch import Fanout, Reflector
from virtualserver.plan.world import Json, ObjectKey, key_of


def obj(name: str, version: int = 1) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", "resourceVersion": str(version)}}


class Names:
    """A sink that keeps names; it cannot take an object called ``bad``, and does not care for ``dull``."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def replace(self, _kind: str, objects: Iterable[Json]) -> None:
        self.names = {key_of(one).name for one in objects}

    def put(self, _kind: str, one: Json) -> bool:
        if key_of(one).name == "bad":
            raise ValueError("cannot be read")
        self.names.add(key_of(one).name)
        return key_of(one).name != "dull"

    def drop(self, _kind: str, key: ObjectKey) -> None:
        self.names.discard(key.name)


class Case:
    """A reflector over a script, run for some virtual seconds."""

    def __init__(
        self, lists: list[Any], watches: list[Any], *, away: bool = False, resource: Resource = VIRTUAL_SERVERS
    ) -> None:
        self.api, self.sink, self.changes = ScriptedApi(lists, watches, away=away), Names(), 0
        self.resource = resource

    def run(self, seconds: float) -> Reflector:
        async def main() -> Reflector:
            made = self.reflector = Reflector(
                self.api,
                self.resource,
                self.sink,
                on_change=self.count,
                backoff=Backoff(uniform=lambda _, high: high),
            )
            task = asyncio.create_task(made.run())
            await asyncio.sleep(seconds)
            assert not task.done()
            self.stale = None if made.stale_since is None else now() - made.stale_since
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.api.gate.close()
            return made

        return run(main())

    def count(self) -> None:
        self.changes += 1

    def asked(self, verb: str) -> list[str]:
        return [version for _, what, version in self.api.asked if what == verb]


def test_list_then_watch_from_its_version() -> None:
    events = [("ADDED", obj("b", 6)), ("MODIFIED", obj("dull", 7)), ("DELETED", obj("a", 8)), ("BOOKMARK", obj("", 9))]
    case = Case([("5", [obj("a")])], [[*events, None]])
    made = case.run(10)
    assert case.sink.names == {"b", "dull"}
    assert made.synced.is_set()
    assert made.connected
    assert case.stale is None
    assert case.changes == 3, "the list, b, and a's end; dull says that it changes nothing"
    assert case.asked("watch") == ["5"]


def test_a_watch_that_the_server_ends_goes_on_from_the_last_version_without_a_list() -> None:
    case = Case([("5", [])], [[100.0, ("BOOKMARK", obj("", 44)), 100.0, "end"], [None]])
    case.run(300)
    assert case.asked("watch") == ["5", "44"]
    assert len(case.asked("list")) == 1


def test_gone_lists_again_at_once_and_finds_what_vanished() -> None:
    case = Case([("5", [obj("a"), obj("b")]), ("9", [obj("b")])], [[10.0, Gone(410, "too old")], [None]])
    case.run(10.01)
    assert case.sink.names == {"b"}
    assert case.asked("watch") == ["5", "9"]


def test_a_server_that_always_says_gone_is_not_stormed() -> None:
    case = Case([("5", [])], [[Gone(410, "too old")]])
    case.run(60)
    assert len(case.api.asked) < 40


@pytest.mark.parametrize("watch", [["end"], ApiError(500, "boom"), ApiError(403, "forbidden"), [ApiError(500, "x")]])
def test_a_watch_that_ends_at_once_is_not_stormed(watch: Any) -> None:
    case = Case([("5", [])], [watch])
    case.run(60)
    assert 5 < len(case.api.asked) < 40, "back-off up to 10 s, not 640 requests a second"


def test_a_list_that_fails_is_asked_again_with_growing_pauses() -> None:
    case = Case([ApiError(500, "boom")], [[None]])
    made = case.run(60)
    assert not made.synced.is_set()
    assert len(case.asked("list")) < 14
    times = [at for at, _, _ in case.api.asked]
    assert times[-1] - times[-2] == 10.0


def test_a_missing_kind_is_an_error_unless_it_is_optional() -> None:
    assert not Case([NotFound(404, "no such kind")], [[None]]).run(5).synced.is_set()
    case = Case([NotFound(404, "no such kind")], [[None]], resource=SERVICE_CIDRS)
    assert case.run(1000).synced.is_set()
    assert 2 <= len(case.asked("list")) <= 6, "it is looked for again every few minutes"
    assert not case.asked("watch")


def test_an_outage_keeps_what_is_known_and_is_over_two_seconds_after_it_ends() -> None:
    broken = Unreachable(0, "connection refused")
    case = Case([("5", [obj("a")])], [[10.0, broken], broken, [None]], away=True)

    async def main() -> None:
        made = Reflector(case.api, VIRTUAL_SERVERS, case.sink)
        task = asyncio.create_task(made.run())
        await asyncio.sleep(600)
        assert case.sink.names == {"a"}
        assert not made.connected
        assert made.stale_since == pytest.approx(1000), "since the last word from it"
        assert len(case.api.asked) == 2, "while it is away only the gate asks"
        case.api.away, case.api.watches = False, [[None]]
        await asyncio.sleep(2)
        assert made.connected
        assert len(case.asked("list")) == 1, "the watch goes on where it broke"
        task.cancel()

    run(main())


def test_the_end_of_an_outage_starts_the_pauses_anew() -> None:
    """An API server that is just up may refuse for a moment, until it knows everybody's rights."""
    refused, away = ApiError(403, "forbidden"), Unreachable(0, "connection refused")
    case = Case([*[refused] * 8, away, refused, refused, ("5", [])], [[None]], away=True)

    async def main() -> None:
        made = Reflector(case.api, VIRTUAL_SERVERS, case.sink)
        task = asyncio.create_task(made.run())
        await asyncio.sleep(600)
        assert len(case.api.asked) == 9
        case.api.away = False
        await asyncio.sleep(2)
        assert made.synced.is_set()
        task.cancel()

    run(main())


def test_a_gateway_error_lists_again() -> None:
    case = Case([("5", [])], [Unreachable(503, "no server behind me"), [None]])
    case.run(10)
    assert len(case.asked("list")) == 2


def test_an_object_that_the_sink_cannot_take_does_not_stop_the_others() -> None:
    case = Case([("5", [])], [[("ADDED", obj("bad", 6)), ("ADDED", obj("good", 7)), None]])
    case.run(5)
    assert case.sink.names == {"good"}
    assert len(case.asked("watch")) == 1


def test_a_fault_of_ours_is_retried_not_fatal() -> None:
    case = Case([KeyError("x"), ("5", [obj("a")])], [[None]])
    case.run(5)
    assert case.sink.names == {"a"}


def test_fanout_tells_all_and_a_change_for_one_is_a_change() -> None:
    one, two = Names(), Names()
    both = Fanout(one, two)
    both.replace("VirtualServer", iter([obj("a")]))
    assert both.put("VirtualServer", obj("b")) is True
    assert both.put("VirtualServer", obj("dull")) is False
    both.drop("VirtualServer", ObjectKey("default", "a"))
    assert one.names == two.names == {"b", "dull"}
