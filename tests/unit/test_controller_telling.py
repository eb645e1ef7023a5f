"""Director groups: what is written of them and told, while their directors come, go and contradict each other."""

from __future__ import annotations

from typing import Any, cast

from unit import builders
from unit.builders import director
from unit.test_controller_reconcile import Asked, Statuses
from virtualserver.cluster.events import EventWriter
from virtualserver.cluster.status import StatusWriter
from virtualserver.controller.telling import GroupTeller
from virtualserver.plan.groupseen import GroupSeen
from virtualserver.plan.world import ObjectKey

KEY = ObjectKey("", "default")
NODES = [builders.node("director-1"), builders.node("director-2")]


class Notes:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def normal(self, _: Any, reason: str, note: str) -> None:
        self.events.append((str(reason), note))

    def warning(self, _: Any, reason: str, note: str) -> None:
        self.events.append(("!" + reason, note))


class Case:
    """One group; ``say`` is what its directors wrote, and what the controller wrote stands beside it."""

    def __init__(self, standing: Any = None) -> None:
        self.agents, self.groups, self.notes = Asked(), Statuses(), Notes()
        self.store = builders.store(nodes=NODES)
        self.groups.standing[KEY] = standing or {}
        self.teller = GroupTeller(self.agents, cast(StatusWriter, self.groups), cast(EventWriter, self.notes))

    def say(self, *said: Any, active: str | None = "director-1", **more: Any) -> GroupSeen | None:
        own = self.groups.wishes.get(KEY, self.groups.standing[KEY])
        self.groups.standing[KEY] = own | {"directors": list(said)} | more
        if active is not None:
            self.groups.standing[KEY]["activeDirector"] = active
        seen = self.teller.once(self.store.world())
        return seen["default"]

    @property
    def told(self) -> list[tuple[str, str]]:
        events, self.notes.events = self.notes.events, []
        return events

    def condition(self, kind: str) -> tuple[str, str]:
        (one,) = (one for one in self.groups.wishes[KEY]["conditions"] if one["type"] == kind)
        return one["status"], one["reason"]


ONE, TWO = director(), director("director-2", "Standby", 249)
FIRST = {"node": "director-1", "reason": "First", "message": "m"}
LOST = {"node": "director-2", "before": "director-1", "reason": "DirectorLost", "message": "m", "silent": "0.23s"}


def reasons(told: list[tuple[str, str]]) -> list[str]:
    return [reason for reason, _ in told]


def test_nothing_is_told_of_a_group_whose_directors_have_not_spoken_yet() -> None:
    it = Case()
    it.say(active=None)
    assert it.told == []
    assert it.condition("Available") == ("False", "NoActiveDirector")


def test_a_failover_is_told_once() -> None:
    it = Case()
    it.say(ONE, TWO, lastFailover=FIRST)
    assert it.told == [("DirectorActive", "director-1 is active: First (m)")]
    it.say(ONE, TWO, lastFailover=FIRST)
    assert it.told == []
    took_over = director("director-2"), director("director-1", "NotReady", reason="LinkDown")
    it.say(*took_over, active="director-2", lastFailover=LOST)
    assert it.told == [
        ("!FailedOver", "director-2 is active instead of director-1: DirectorLost, silent for 0.23s (m)"),
        ("!DirectorNotReady", "director-1 is NotReady (LinkDown: director-1 says so)"),
    ]
    it.say(*took_over, active="director-2", lastFailover=LOST)
    assert it.told == []


def test_a_restart_tells_only_what_happened_meanwhile() -> None:
    before = Case()
    before.say(ONE, TWO, lastFailover=FIRST)
    standing = before.groups.standing[KEY] | before.groups.wishes[KEY]
    again = Case(standing)
    again.say(ONE, TWO, lastFailover=FIRST)
    assert again.told == []
    later = Case(standing)
    later.say(director("director-2"), director("director-1", "Standby"), active="director-2", lastFailover=LOST)
    assert reasons(later.told) == ["!FailedOver"]


def test_a_second_director_that_fails_for_the_same_reason_is_told_too_and_so_is_the_end() -> None:
    it = Case()
    third = director("director-3", "Standby", 248)
    sick = [director(one["node"], "NotReady", reason="LinkDown") for one in (TWO, third)]
    it.say(ONE, TWO, third)
    assert reasons(it.told) == ["DirectorActive"]
    it.say(ONE, sick[0], third)
    it.say(ONE, *sick)
    assert reasons(it.told) == ["!DirectorNotReady", "!DirectorNotReady"]
    it.say(ONE, TWO, third)
    assert it.told == [("DirectorsReady", "directors that are ready: 3")]


def test_a_silent_active_director_is_told_and_so_is_its_return() -> None:
    it = Case()
    it.say(ONE, TWO)
    assert reasons(it.told) == ["DirectorActive"]
    it.agents.unreachable = frozenset({"director-1"})
    it.say(ONE, TWO)
    assert it.condition("Available") == ("Unknown", "DirectorUnreachable")
    assert reasons(it.told) == ["!DirectorUnreachable", "!DirectorUnreachable"]
    it.agents.unreachable = frozenset()
    it.say(ONE, TWO)
    assert reasons(it.told) == ["DirectorActive", "DirectorsReady"]


def test_a_dead_director_that_said_it_was_active_makes_no_two_owners() -> None:
    it = Case()
    it.say(ONE, TWO, lastFailover=FIRST)
    it.agents.rounds, it.agents.answered = 5, {"director-1": 5, "director-2": 5}
    assert it.say(ONE, director("director-2"), active="director-2", lastFailover=LOST) is None
    assert it.condition("Degraded") == ("True", "DirectorUnreachable"), "the standby has said why it took over"
    assert it.condition("Available") == ("True", "DirectorActive")
    assert it.agents.awaited
    it.agents.rounds, it.agents.answered = 8, {"director-1": 5, "director-2": 8}
    assert it.say(ONE, director("director-2"), active="director-2", lastFailover=LOST) is None
    it.agents.unreachable = frozenset({"director-1"})
    assert it.say(ONE, director("director-2"), active="director-2", lastFailover=LOST) is not None
    assert it.condition("Degraded") == ("True", "DirectorUnreachable")
    assert "!TwoOwners" not in reasons(it.told)


def test_two_that_answer_and_say_so_still_are_two_owners() -> None:
    it = Case()
    both = director(), director("director-2")
    it.agents.rounds, it.agents.answered = 5, {"director-1": 5, "director-2": 5}
    it.say(*both)
    it.agents.rounds, it.agents.answered = 6, {"director-1": 6, "director-2": 6}
    it.say(*both)
    assert "!TwoOwners" not in reasons(it.told), "it may be about to yield"
    it.agents.rounds, it.agents.answered = 7, {"director-1": 7, "director-2": 7}
    assert it.say(*both) is not None
    assert it.condition("Degraded") == ("True", "TwoOwners")
    assert reasons(it.told) == ["!TwoOwners"]
    it.say(ONE, TWO)
    assert it.condition("Degraded") == ("False", "DirectorsReady")
    assert reasons(it.told) == ["DirectorsReady"]


def test_a_group_that_is_gone_is_forgotten() -> None:
    it = Case()
    it.say(ONE, TWO, lastFailover=FIRST)
    it.store.replace("DirectorGroup", [])
    assert it.teller.once(it.store.world()) == {}
    it.store.replace("DirectorGroup", [builders.director_group()])
    it.told.clear()
    it.groups.wishes.clear()
    it.groups.standing[KEY] = {}
    it.say(ONE, TWO, lastFailover=FIRST)
    assert reasons(it.told) == ["DirectorActive"]
