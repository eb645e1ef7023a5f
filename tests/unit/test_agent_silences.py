"""When a director that should stay out takes over all the same, and how often."""

from __future__ import annotations

import pytest

from unit.builders import director_group, store
from virtualserver.agent.silences import Silences
from virtualserver.model.types import State

GROUP, NONE = frozenset({"default"}), frozenset[str]()
CAME_AND_WENT = (GROUP, NONE)
"""It takes the addresses; then another one is heard, and has them."""


class Case:
    def __init__(self) -> None:
        self.silence: float | None = None
        self.it = Silences(lambda _: self.silence)
        self.groups = store(groups=[director_group()]).world().groups

    def look(self, active: frozenset[str] = NONE, held: frozenset[str] = GROUP) -> bool:
        return bool(self.it.look(self.groups, active, NONE, held, State()))

    def waits(self, held: frozenset[str] = GROUP) -> float:
        """Seconds of silence until it may have them."""
        for tenths in range(1000):
            self.silence = tenths / 10
            if self.look(held=held):
                return self.silence
        raise AssertionError("it never may")


def test_each_time_in_vain_it_waits_twice_as_long_until_it_is_not_held_down_any_more() -> None:
    case = Case()
    waits = []
    for _ in range(7):
        waits.append(case.waits())
        for active in CAME_AND_WENT:
            case.look(active)
    assert waits == pytest.approx([2.4, 4.4, 8.4, 16.4, 32.4, 64.4, 64.4])
    for _ in range(1100):  # a day of that
        case.silence = 70.0
        assert case.look()
        for active in CAME_AND_WENT:
            case.look(active)
    case.look(held=NONE)
    assert case.waits() == pytest.approx(2.4)


def test_who_is_not_held_down_need_not_wait_longer() -> None:
    """A cordoned one: it gives the addresses back because somebody wants that."""
    case = Case()
    for _ in range(3):
        assert case.waits(NONE) == pytest.approx(2.4)
        for active in CAME_AND_WENT:
            case.look(active, NONE)


def test_silence_that_ends_before_it_has_them_is_not_in_vain() -> None:
    case = Case()
    for _ in range(3):
        assert case.waits() == pytest.approx(2.4)
        case.silence = 0.0
        assert not case.look()
