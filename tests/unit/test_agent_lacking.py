"""How many virtual servers a director says that it cannot serve, and when."""

from __future__ import annotations

from typing import Any

import pytest

from unit.builders import director_group, group_reports, node, store, virtual_server
from virtualserver.agent.lacking import LASTING
from virtualserver.model.types import State
from virtualserver.plan import desired
from virtualserver.plan.desired import Circumstances
from virtualserver.plan.eligibility import Standing
from virtualserver.plan.health import UNMONITORED
from virtualserver.plan.verdicts import judge
from virtualserver.plan.world import ObjectKey

WEB = ObjectKey("default", "web")
ACTIVE = Standing(active=frozenset({"default"}))


class Director:
    """What a director of one group says, as time passes."""

    def __init__(self, standing: Standing) -> None:
        self.now, self.standing, self.told = 0.0, standing, dict[str, Any]()
        self.reports = group_reports("director-1", self.told, lambda: self.now)
        nodes = [node("director-1", "198.18.0.11")]
        self.world = store(virtual_servers=[virtual_server()], groups=[director_group()], nodes=nodes).world()

    def says(self, *problems: ObjectKey, after: float = 0.0) -> int:
        self.now += after
        circumstances = Circumstances(standing=self.standing)
        plan = desired.plan(self.world, judge(self.world), lambda *_: UNMONITORED, "director-1", circumstances)
        self.reports.report(self.world, plan, self.standing, State(), problems)
        self.entry = self.told["default"]["directors"][0]
        return int(self.entry.get("lacking", 0))


@pytest.mark.parametrize("standing", [Standing(), ACTIVE], ids=["standby", "active"])
def test_a_director_says_how_many_virtual_servers_it_cannot_serve_once_that_lasts(standing: Standing) -> None:
    director = Director(standing)
    assert director.says(WEB) == 0
    assert director.says(WEB, after=LASTING - 0.1) == 0
    assert director.says(WEB, after=0.1) == 1
    assert director.says() == 0


def test_the_active_one_says_it_in_words_too() -> None:
    director = Director(ACTIVE)
    director.says(WEB)
    director.says(WEB, after=LASTING)
    assert director.entry["message"].endswith("but for 1 virtual server that it cannot serve")


def test_virtual_servers_of_other_groups_do_not_count() -> None:
    director = Director(ACTIVE)
    director.says(ObjectKey("default", "elsewhere"))
    assert director.says(ObjectKey("default", "elsewhere"), after=LASTING) == 0
