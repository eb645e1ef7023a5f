"""When a keepalived counts as one that has stopped working."""

from __future__ import annotations

import pytest

from virtualserver.model.failover import Instance
from virtualserver.vrrp.pulse import Pulse


def instance(interval: int) -> Instance:
    return Instance("web", 51, "eth0", interval, 3, 250)


@pytest.mark.parametrize(("interval", "looks"), [(50, 3), (100, 3), (1000, 8), (40000, 320)])
def test_one_that_rests_no_more_is_given_the_time_of_three_looks_and_four_advertisements(
    interval: int, looks: int
) -> None:
    pulse, instances = Pulse(), [instance(interval)]
    assert not pulse.look(7, instances)
    assert [pulse.look(7, instances) for _ in range(looks)] == [False] * (looks - 1) + [True]


def test_one_that_rests_now_and_then_works() -> None:
    pulse = Pulse()
    assert not any(pulse.look(number // 3, [instance(100)]) for number in range(30))


def test_one_of_which_nothing_is_known_is_beginning_or_ending() -> None:
    pulse = Pulse()
    assert not any(pulse.look(None, [instance(100)]) for _ in range(30))
