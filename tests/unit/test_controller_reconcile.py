from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from unit import builders
from unit.virtualtime import now, run
from virtualserver.api.reasons import Reason
from virtualserver.cluster.events import EventWriter, Subject
from virtualserver.cluster.status import StatusWriter
from virtualserver.controller.agents import Agents
from virtualserver.controller.fallback import Fallback
from virtualserver.controller.leftovers import Leftovers
from virtualserver.controller.reconcile import Groups, Reconciler
from virtualserver.controller.settings import settings
from virtualserver.controller.silence import Silence
from virtualserver.controller.telling import GroupTeller
from virtualserver.plan.store import Store
from virtualserver.plan.world import ObjectKey

WEB, DEFAULT = ObjectKey("default", "web"), ObjectKey("", "default")


class Statuses:
    """Remembers the last wish of each object; ``standing`` is what the API server has."""

    def __init__(self) -> None:
        self.wishes: dict[ObjectKey, Any] = {}
        self.standing: dict[ObjectKey, Any] = {}

    def set(self, key: ObjectKey, status: Any, silent: str | None = None) -> None:
        self.wishes[key] = status if silent is None else (status, silent)

    def seen(self, key: ObjectKey) -> Any:
        return self.standing.get(key)


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def normal(self, subject: Subject, reason: Reason, _: str) -> None:
        self.events.append((subject.key.name, reason))

    def warning(self, subject: Subject, reason: Reason, _: str) -> None:
        self.events.append((subject.key.name, "!" + reason))

    def taken(self) -> list[tuple[str, str]]:
        events, self.events = self.events, []
        return events


class Reporting:
    def __init__(self) -> None:
        self.nodes: dict[ObjectKey, frozenset[str]] = {}

    def set(self, key: ObjectKey, nodes: frozenset[str]) -> None:
        self.nodes[key] = nodes


class Asked:
    """Stands in for ``Agents``: who answered when."""

    def __init__(self) -> None:
        self.unreachable: frozenset[str] = frozenset()
        self.rounds = 0
        self.answered: dict[str, int] = {}
        self.awaited = False

    def again(self) -> None:
        self.awaited = True


class SilenceTold:
    def __init__(self) -> None:
        self.nodes: frozenset[str] = frozenset()

    def set(self, nodes: frozenset[str]) -> None:
        self.nodes = nodes


class Case:
    def __init__(self, store: Store | None = None, standing: Mapping[ObjectKey, Any] | None = None) -> None:
        self.store = store or builders.store(virtual_servers=[builders.virtual_server()])
        self.own, self.fallback, self.groups = Statuses(), Statuses(), Statuses()
        self.own.standing = dict(standing or {})
        self.told, self.agents, self.leftovers = Told(), Asked(), Reporting()
        self.of_groups, self.silence = Reporting(), SilenceTold()
        teller = GroupTeller(self.agents, cast(StatusWriter, self.groups), cast(EventWriter, self.told))
        self.reconciler = Reconciler(
            self.store,
            cast(Agents, self.agents),
            cast(StatusWriter, self.own),
            cast(Fallback, self.fallback),
            cast(Leftovers, self.leftovers),
            Groups(teller, cast(Leftovers, self.of_groups)),
            [cast(Silence, self.silence)],
            cast(EventWriter, self.told),
        )

    def round(self) -> list[tuple[str, str]]:
        self.reconciler.once()
        return self.told.taken()


def test_a_round_says_everything_and_the_next_one_the_same() -> None:
    it = Case()
    assert it.round() == [("web", "Accepted")]
    wishes = it.own.wishes, it.fallback.wishes, it.groups.wishes
    assert it.round() == []
    assert (it.own.wishes, it.fallback.wishes, it.groups.wishes) == wishes
    assert it.fallback.wishes[WEB] is None
    assert "activeDirector" not in it.groups.wishes[DEFAULT], "that is its director's own"


def test_who_may_report_follows_the_group() -> None:
    it = Case()
    it.round()
    assert it.leftovers.nodes == {WEB: {"director-1"}}
    assert it.of_groups.nodes == {DEFAULT: {"director-1"}}
    it.store.replace("Node", [builders.node("director-2")])
    it.round()
    assert it.leftovers.nodes == {WEB: {"director-2"}}
    assert it.of_groups.nodes == {DEFAULT: {"director-2"}}


def test_a_silent_director_is_named() -> None:
    it = Case(standing={WEB: {"readyRealServers": "2/2"}})
    it.agents.unreachable = frozenset({"director-1"})
    it.round()
    status, silent = it.fallback.wishes[WEB]
    assert silent == "director-1"
    assert status["readyRealServers"] == "?/2"
    assert it.silence.nodes == {"director-1"}


def test_refusal_and_recovery_are_told_once_each() -> None:
    it = Case()
    it.round()
    it.store.put("VirtualServer", builders.virtual_server(realServers=[{"service": {"name": "shop"}}]))
    assert it.round() == [("web", "!ServiceNotFound")]
    assert it.round() == []
    it.store.put("Service", builders.service("shop"))
    assert it.round() == [("web", "Resolved")]
    it.store.replace("DirectorGroup", [])
    assert it.round() == [("web", "!DirectorGroupNotFound")]
    it.store.put("DirectorGroup", builders.director_group())
    assert it.round() == [("web", "Accepted")]


def test_of_a_refused_one_nothing_is_told_about_references() -> None:
    missing = builders.virtual_server(realServers=[{"service": {"name": "shop"}}])
    it = Case(builders.store(virtual_servers=[missing]))
    assert it.round() == [("web", "Accepted"), ("web", "!ServiceNotFound")]
    it.store.replace("DirectorGroup", [])
    assert it.round() == [("web", "!DirectorGroupNotFound")]


def test_a_restart_does_not_tell_again_what_the_status_says() -> None:
    first = Case(builders.store(virtual_servers=[builders.virtual_server()], groups=[]))
    assert first.round() == [("web", "!DirectorGroupNotFound")]
    second = Case(first.store, {WEB: first.own.wishes[WEB]})
    assert second.round() == []


def test_the_younger_of_two_is_refused_and_comes_in_when_the_older_goes() -> None:
    younger = builders.virtual_server("younger", created="2026-02-02T00:00:00Z")
    it = Case(builders.store(virtual_servers=[builders.virtual_server(), younger]))
    assert ("younger", "!AddressInUse") in it.round()
    it.store.drop("VirtualServer", WEB)
    assert it.round() == [("younger", "Accepted")]


def test_mirrored_follows_what_the_standbys_of_the_group_say() -> None:
    it = Case(builders.store(virtual_servers=[builders.virtual_server(connectionMirroring=True)]))
    standby = builders.director("director-2", "Standby", mirror={"state": "InStep"})
    it.groups.standing[DEFAULT] = {"directors": [builders.director(), standby]}
    it.round()
    (said,) = (one for one in it.own.wishes[WEB]["conditions"] if one["type"] == "Mirrored")
    assert (said["status"], said["reason"]) == ("True", "InStep")


def test_the_loop_waits_for_the_full_list_and_survives_what_fails() -> None:
    async def main() -> None:
        it, ready, dirty = Case(), asyncio.Event(), asyncio.Event()
        failures = [ValueError("boom")] * 3

        def failing() -> None:
            if failures:
                raise failures.pop()
            Case.round(it)

        it.reconciler.once = failing  # type: ignore[method-assign]  # replaced for this test
        task = asyncio.create_task(it.reconciler.run(ready, dirty))
        dirty.set()
        await asyncio.sleep(100)
        assert it.reconciler.last_beat is None
        assert len(failures) == 3, "nothing is decided from partial knowledge"
        ready.set()
        await asyncio.sleep(0.01)
        it.reconciler.once = failing  # type: ignore[method-assign]  # replaced for this test
        await asyncio.sleep(10)
        assert not failures
        await asyncio.sleep(100)
        assert now() - (it.reconciler.last_beat or 0) <= 5
        task.cancel()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Case, "round", lambda _: [])
        run(main())


def test_changes_that_come_together_are_one_round() -> None:
    async def main() -> None:
        it, ready, dirty = Case(), asyncio.Event(), asyncio.Event()
        rounds: list[float] = []
        it.reconciler.once = lambda: rounds.append(now())  # type: ignore[method-assign]  # replaced for this test
        task = asyncio.create_task(it.reconciler.run(ready, dirty))
        ready.set()
        await asyncio.sleep(1)
        for _ in range(100):
            dirty.set()
            await asyncio.sleep(0.0001)
        await asyncio.sleep(1)
        assert len(rounds) == 2
        assert rounds[1] - 1001 < 0.1, "woken at once"
        task.cancel()

    run(main())


@pytest.mark.parametrize("name", ["HEALTH_PORT", "AGENT_PORT"])
@pytest.mark.parametrize("text", ["", "x", "-1", "65536", "80a"])
def test_a_port_that_is_none_is_named(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=name):
        settings({name: text})


def test_default_settings() -> None:
    made = settings({})
    assert (made.health_address, made.health_port, made.agent_port) == ("0.0.0.0", 8081, 9440)
