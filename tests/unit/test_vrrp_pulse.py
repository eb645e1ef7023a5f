"""When a keepalived counts as one that has stopped working."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from virtualserver.kernel.links import IFF_LOWER_UP, Link
from virtualserver.model.failover import Instance, token
from virtualserver.model.types import LinkAddress
from virtualserver.vrrp.pulse import Pulse, too_still, works

OWN = LinkAddress("eth0", ip_address("198.18.0.11"), 24)
UP = {"eth0": Link(2, "eth0", IFF_LOWER_UP, b"", 1500)}


def instance(interval: int, router: int = 51) -> Instance:
    return Instance("web", router, "eth0", interval, 3, 250, links=("eth0",))


@pytest.mark.parametrize(
    ("intervals", "holds", "looks"),
    [
        ((50,), True, 3),
        ((1000,), True, 8),
        ((40000,), True, 320),
        ((40000, 100), True, 3),
        ((100,), False, 30),
        ((5000,), False, 40),
    ],
)
def test_one_without_a_sign_of_life_is_given_time_by_what_it_has_to_do(
    intervals: tuple[int, ...], holds: bool, looks: int
) -> None:
    instances = [instance(one, 51 + number) for number, one in enumerate(intervals)]
    present = {OWN, token(51)} if holds else {OWN}
    assert [too_still(looks - 1, instances, present), too_still(looks, instances, present)] == [False, True]


def test_one_that_has_nothing_to_do_may_be_still_for_ever() -> None:
    assert not too_still(1000, [], {OWN})
    assert works(instance(100), UP, {OWN})
    assert not works(instance(100), UP, set()), "it has no address to send from"
    assert not works(instance(100), {"eth0": Link(2, "eth0", 0, b"", 1500)}, {OWN})
    assert not works(instance(100), {}, {OWN})


def test_looks_count_from_the_last_sign_of_life() -> None:
    pulse = Pulse()
    assert [pulse.look(one) for one in (7, 7, 7, 8, 8, None, 8, 8)] == [0, 1, 2, 0, 1, 0, 0, 1]
