"""What the fake kernel promises of keepalived, held against the real one: one suite, both sides."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

import pytest

from virtualserver.kernel.fake import FakeKernel
from virtualserver.model.failover import Instance, token
from virtualserver.model.operations import Allow, ConfigureInstances, Forbid, Operation, Outcome
from virtualserver.model.types import LinkAddress, State
from vrrp.directors import GROUP, ROUTER, TOKEN, VIP, Director, eventually, segment

INSTANCE = Instance(GROUP, ROUTER, "eth0", 100, 3, 250, addresses=VIP)
OTHER = Instance("other", 52, "eth0", 100, 3, 249)


class Side(Protocol):
    """A node with a kernel, and a rival that can win elections."""

    def read(self) -> State: ...

    def apply(self, *operations: Operation) -> list[Outcome]: ...

    def lose(self) -> None:
        """Let the rival be active for ``GROUP``."""

    def win(self) -> None:
        """Let the rival yield."""


class Fake:
    def __init__(self) -> None:
        self.kernel = FakeKernel(links=("lo", "eth0"))

    def read(self) -> State:
        return self.kernel.read()

    def apply(self, *operations: Operation) -> list[Outcome]:
        return self.kernel.apply(operations)

    def lose(self) -> None:
        self.kernel.failover.lost.add(GROUP)

    def win(self) -> None:
        self.kernel.failover.lost.discard(GROUP)
        self.kernel.failover.elect(self.kernel)


class Real:
    def __init__(self, director: Director, rival: Director) -> None:
        self._director, self._rival = director, rival
        director.start()
        # keepalived is started with the first instance; the contract begins where it runs
        director.do(ConfigureInstances((OTHER,)))
        eventually(lambda: self.apply(Allow("other"))[0].ok)
        director.do(Forbid("other"), ConfigureInstances(()))

    def read(self) -> State:
        return self._director.call(self._director.kernel.read)

    def apply(self, *operations: Operation) -> list[Outcome]:
        return self._director.call(lambda: self._director.kernel.apply(operations))

    def lose(self) -> None:
        self._rival.instances = (replace(INSTANCE, priority=100),)
        self._rival.do(ConfigureInstances(self._rival.instances))
        self._rival.start()
        eventually(lambda: self._rival.call(lambda: self._rival.kernel.apply([Allow(GROUP)]))[0].ok)
        eventually(self._rival.holds)

    def win(self) -> None:
        self._rival.do(Forbid(GROUP))


@contextmanager
def made(which: str, folder: Path) -> Iterator[Side]:
    if which == "fake":
        yield Fake()
        return
    with segment(folder) as directors:
        yield Real(*directors)


@pytest.fixture(params=["fake", "keepalived"])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Side]:
    with made(request.param, tmp_path) as found:
        yield found


def do(side: Side, *operations: Operation) -> None:
    outcomes = side.apply(*operations)
    assert all(one.ok for one in outcomes), outcomes


def refused(side: Side, operation: Operation) -> int:
    before = side.read()
    (outcome,) = side.apply(operation)
    assert outcome.message
    assert side.read() == before
    return outcome.errno


def soon(side: Side, condition: Callable[[State], bool]) -> None:
    eventually(lambda: condition(side.read()))


def holds(*addresses: LinkAddress) -> Callable[[State], bool]:
    return lambda state: state.addresses.issuperset(addresses)


def lacks(*addresses: LinkAddress) -> Callable[[State], bool]:
    return lambda state: state.addresses.isdisjoint(addresses)


def test_instances_are_read_back_and_nothing_is_held_before_it_is_allowed(side: Side) -> None:
    assert (side.read().instances, side.read().eligible) == ({}, frozenset())
    do(side, ConfigureInstances((INSTANCE, OTHER)))
    state = side.read()
    assert state.instances == {GROUP: INSTANCE, "other": OTHER}
    assert state.eligible == frozenset()
    assert lacks(TOKEN, *VIP)(state)


def test_who_is_allowed_holds_all_and_who_is_forbidden_nothing(side: Side) -> None:
    do(side, ConfigureInstances((INSTANCE, OTHER)), Allow(GROUP))
    soon(side, holds(TOKEN, *VIP))
    assert side.read().eligible == {GROUP}
    assert lacks(token(52))(side.read())
    do(side, Allow(GROUP), Forbid(GROUP))
    soon(side, lacks(TOKEN, *VIP))
    assert side.read().eligible == frozenset()
    do(side, Forbid(GROUP))


def test_a_group_without_addresses_has_an_active_director_all_the_same(side: Side) -> None:
    do(side, ConfigureInstances((OTHER,)), Allow("other"))
    soon(side, holds(token(52)))


def test_addresses_follow_the_configuration_while_active(side: Side) -> None:
    do(side, ConfigureInstances((INSTANCE,)), Allow(GROUP))
    soon(side, holds(TOKEN, *VIP))
    new = LinkAddress("eth0", ip_address("198.18.0.101"), 32)
    do(side, ConfigureInstances((replace(INSTANCE, addresses=(VIP[1], new)), OTHER)))
    soon(side, holds(TOKEN, VIP[1], new))
    soon(side, lacks(VIP[0]))
    assert side.read().eligible == {GROUP}


def test_a_group_that_goes_takes_its_addresses_along_and_has_to_be_allowed_again(side: Side) -> None:
    do(side, ConfigureInstances((INSTANCE, OTHER)), Allow(GROUP))
    soon(side, holds(TOKEN, *VIP))
    do(side, ConfigureInstances((OTHER,)))
    soon(side, lacks(TOKEN, *VIP))
    assert side.read().eligible == frozenset()
    do(side, ConfigureInstances((INSTANCE, OTHER)))
    assert side.read().eligible == frozenset()
    assert lacks(TOKEN)(side.read())


def test_another_director_may_be_active(side: Side) -> None:
    side.lose()
    do(side, ConfigureInstances((INSTANCE,)), Allow(GROUP))
    assert side.read().eligible == {GROUP}
    time.sleep(0.6)  # longer than it would take
    assert lacks(TOKEN, *VIP)(side.read())
    side.win()
    soon(side, holds(TOKEN, *VIP))


def test_a_missing_link_keeps_only_its_own_group(side: Side) -> None:
    do(side, ConfigureInstances((replace(INSTANCE, link="eth9"), OTHER)), Allow(GROUP), Allow("other"))
    soon(side, holds(token(52)))
    assert lacks(TOKEN, *VIP)(side.read())


@pytest.mark.parametrize(
    ("code", "operation"),
    [
        (errno.ENOENT, Allow("nobody")),
        (errno.EINVAL, ConfigureInstances((INSTANCE, replace(OTHER, router_id=ROUTER)))),
        (errno.EINVAL, ConfigureInstances((INSTANCE, INSTANCE))),
        (errno.ERANGE, ConfigureInstances((replace(INSTANCE, priority=0),))),
    ],
)
def test_refusals(side: Side, code: int, operation: Operation) -> None:
    assert refused(side, operation) == code
