"""The agent's programmer on a kernel that refuses one write, or all from one on: on the fake and on the real one."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from contract.worlds import LINK, REAL, ROUTED, World
from unit.builders import director_group, store, virtual_server
from virtualserver.agent.programmer import Programmer, Round
from virtualserver.agent.record import Record
from virtualserver.api.enums import RealServerState
from virtualserver.api.reasons import Reason
from virtualserver.model.types import Owned, State
from virtualserver.plan import desired, settings, vrrp
from virtualserver.plan.desired import Circumstances, Plan
from virtualserver.plan.eligibility import Standing
from virtualserver.plan.health import Health
from virtualserver.plan.verdicts import judge

UP = Health(RealServerState.UP, Reason.MONITOR_SUCCEEDED)
VIPS = ("198.18.0.100", "fd00:18::100")
SERVER = virtual_server(
    addresses=list(VIPS),
    realServers=[{"address": "198.18.1.21"}, {"address": "198.18.1.22"}, {"address": "fd00:18:1::21"}],
)
GROUP = director_group(
    interface=LINK,
    gateway={"interface": LINK, "addresses": ["198.18.1.1"]},
    vrrp={"advertisementInterval": "50ms", "missedAdvertisements": 2},
)
LONG = 100
"""Rounds, and times of settling, after which nothing more is waited for."""
NAMES = settings.names({LINK})


class Node:
    """A director on the kernel of a world, with a record and a clock of its own."""

    def __init__(self, world: World, record: Path) -> None:
        self.world, self.now, self.wanted = world, 0.0, True
        self.programmer = Programmer(world.kernel, Record(record), lambda: self.now)

    def plan(self, actual: State, circumstances: Circumstances) -> Plan:
        if not self.wanted:
            return Plan()
        known = store(virtual_servers=[SERVER], groups=[GROUP]).world()
        standing = Standing(vrrp.active(known, "director-1", actual))
        circumstances = replace(circumstances, standing=standing)
        return desired.plan(known, judge(known), lambda _owner, _one: UP, "director-1", circumstances)

    def round(self) -> Round:
        return self.programmer.round(self.plan, lambda _: NAMES, complete=True)

    def unsafe(self) -> set[str]:
        """Addresses that are announced over a table that is not as intended, by an own look at the kernel."""
        actual, plan = self.world.kernel.read(), self.plan(State(), Circumstances())
        wrong = {str(key.address) for key, one in plan.state.services.items() if actual.services.get(key) != one}
        return {str(one.address) for one in actual.addresses} & wrong

    def announced(self) -> set[str]:
        return {str(one.address) for one in self.world.kernel.read().addresses} & set(VIPS)

    def serves(self) -> bool:
        """Look again until the addresses are held, as a loop does."""
        return self.until(lambda: self.announced() == set(VIPS))

    def until(self, so: Callable[[], bool]) -> bool:
        for _ in range(LONG):
            self.round()
            if so():
                return True
            self.world.settle()
        return False

    def clean(self) -> None:
        self.world.fail_at(0, 0)
        self.wanted = False
        self.until(lambda: not self.world.kernel.read().services and not self.announced())
        self.until(lambda: self.programmer.owned == Owned())
        self.wanted = True


def writes_of_a_first_round(world: World, folder: Path) -> int:
    node = Node(world, folder / "count.json")
    before = world.writes
    assert node.serves()
    count = world.writes - before
    node.clean()
    return count


@pytest.mark.parametrize("ever_after", [False, True], ids=["once", "from then on"])
def test_whichever_write_fails_no_address_stands_over_a_wrong_table(
    world: World, tmp_path: Path, ever_after: bool
) -> None:
    world.elect()
    total = writes_of_a_first_round(world, tmp_path)
    assert total > 10
    # The real kernel takes minutes for all of it: there, each write fails in one of the two ways.
    for nth in range(1 + ever_after, total + 1, 2) if REAL else range(1, total + 1):
        node = Node(world, tmp_path / f"{nth}.json")
        (world.fail_from if ever_after else world.fail_at)(nth, errno.ENOMEM)
        for _ in range(2):
            node.round()
            world.settle()
            assert node.unsafe() == set(), f"write {nth} of {total}"
            node.now += 40
        world.fail_at(0, 0)
        assert node.serves(), f"not recovered after write {nth} of {total}"
        node.clean()
        left = world.kernel.read()
        assert (node.announced(), dict(left.services)) == (set(), {}), f"not clean after write {nth} of {total}"


def test_a_node_that_has_its_default_route_from_a_router_keeps_it(world: World, tmp_path: Path) -> None:
    accepts = f"net.ipv6.conf.{ROUTED}.accept_ra"
    world.hear_router()
    before = world.kernel.read([settings.ADVERTISEMENTS, settings.FORWARD_IPV6]).sysctls
    node = Node(world, tmp_path / "record.json")
    world.elect()
    assert node.serves()
    assert world.kernel.read([accepts, settings.FORWARD_IPV6]).sysctls == {accepts: "2", settings.FORWARD_IPV6: "1"}
    assert world.has_default_route()
    world.hear_router()
    assert world.has_default_route()
    node.clean()
    assert world.kernel.read([settings.ADVERTISEMENTS, settings.FORWARD_IPV6]).sysctls == before
    assert world.has_default_route()


def test_a_second_round_writes_nothing(world: World, tmp_path: Path) -> None:
    node = Node(world, tmp_path / "record.json")
    world.elect()
    assert node.serves()
    before = world.writes
    node.now += 60
    again = Node(world, tmp_path / "record.json")
    assert not again.round().applied
    assert world.writes == before
    again.clean()
