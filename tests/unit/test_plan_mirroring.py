"""What a standby must have, what a look tells, and when that is told."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from virtualserver.api.enums import MirrorState
from virtualserver.model.connections import ESTABLISHED, Connection
from virtualserver.model.types import Protocol
from virtualserver.plan.mirroring import Look, alone, counts, look, report, steady, unknown

ONE = Connection(
    Protocol.TCP, ip_address("198.18.0.2"), 40000, ip_address("198.18.0.100"), 80, ip_address("198.18.1.21"), 80,
    ESTABLISHED, 880,
)  # fmt: skip
IN_STEP, BEHIND = report("director-1", 1000, 0, 5), report("director-1", 1000, 100, 5)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (ONE, True),
        (ONE._replace(protocol=Protocol.UDP, state="UDP", expires=299), True),
        (ONE._replace(state="CLOSE_WAIT", expires=50), True),
        (ONE._replace(state="SYN_RECV", expires=59), False),
        (ONE._replace(state="TIME_WAIT", expires=119), False),
        (ONE._replace(expires=9), False),
        (ONE._replace(client_port=0, state="ASSURED", expires=290), True),
        (ONE._replace(client_port=0, state="ASSURED", expires=55), False),
    ],
)
def test_a_standby_must_have_what_is_in_use_and_was_mirrored(one: Connection, expected: bool) -> None:
    assert counts(one) is expected


def looks(*pairs: tuple[set[int], set[int]]) -> Look:
    """Looks in a row, each with the active director's connections and the own ones."""
    found: Look | None = None
    for theirs, own in pairs:
        found = look(theirs, own, found)
    assert found is not None
    return found


class TestLook:
    def test_what_is_missing_once_may_have_begun_a_moment_ago(self) -> None:
        assert looks(({1, 2, 3}, {1, 2})).overdue == set()
        assert looks(({1, 2}, {1, 2}), ({1, 2, 3}, {1, 2})).overdue == set()

    def test_what_is_missing_twice_is_missing(self) -> None:
        assert looks(({1, 2, 3}, {1}), ({1, 2, 3, 4}, {1, 2})).overdue == {3}

    def test_what_ended_meanwhile_is_not(self) -> None:
        assert looks(({1, 2, 3}, {1}), ({1}, {1})).overdue == set()

    def test_a_receiver_is_deaf_when_nothing_new_has_come_in_three_looks(self) -> None:
        old = {1, 2}
        row = [({*old}, old), ({*old, 3}, old), ({*old, 3, 4}, old), ({*old, 4, 5}, old), ({*old, 5}, old)]
        assert not looks(*row[:4]).hears_nothing
        assert looks(*row).hears_nothing

    def test_one_that_came_proves_that_it_hears(self) -> None:
        row = [({1}, {1}), ({1, 2}, {1}), ({1, 2, 3}, {1}), ({1, 3, 4}, {1, 3}), ({1, 4}, {1})]
        assert looks(*row).deaf == 1

    def test_without_new_connections_nothing_is_known(self) -> None:
        assert looks(*[({1, 2}, set[int]())] * 9).deaf == 0


class TestReport:
    @pytest.mark.parametrize(
        ("missing", "state", "share", "lag"),
        [
            (0, MirrorState.IN_STEP, "100%", "<=10s"),
            (1, MirrorState.IN_STEP, ">=99%", ">10s"),
            (10, MirrorState.IN_STEP, ">=99%", ">10s"),
            (11, MirrorState.BEHIND, ">=95%", ">10s"),
            (51, MirrorState.BEHIND, "<95%", ">10s"),
            (1000, MirrorState.BEHIND, "<95%", ">10s"),
        ],
    )
    def test_steps(self, missing: int, state: MirrorState, share: str, lag: str) -> None:
        found = report("director-1", 1000, missing, 5.2)
        assert (found.state, found.share, found.lag) == (state, share, lag)
        assert (found.message is None) is (state is MirrorState.IN_STEP)

    def test_a_director_without_connections_is_mirrored(self) -> None:
        assert report("director-1", 0, 0, 5) == IN_STEP

    def test_one_that_hears_nothing_is_behind_whatever_it_has(self) -> None:
        found = report("director-1", 1000, 2, 5, hears_nothing=True)
        assert found.state is MirrorState.BEHIND
        assert found.message == "no connection that begins at director-1 comes here"

    def test_of_a_large_table_less_is_known_of_the_lag(self) -> None:
        assert report("director-1", 1000, 0, 45).lag == "<=60s"

    def test_something_else_is_told_when_two_looks_in_a_row_said_it(self) -> None:
        assert steady(None, None, BEHIND) == BEHIND
        assert steady(IN_STEP, IN_STEP, BEHIND) == IN_STEP
        assert steady(IN_STEP, BEHIND, BEHIND) == BEHIND
        assert steady(BEHIND, unknown("x"), IN_STEP) == BEHIND
        assert steady(alone(), IN_STEP, IN_STEP) == IN_STEP
