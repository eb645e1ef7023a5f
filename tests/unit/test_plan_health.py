"""Rise and fall."""

from __future__ import annotations

from functools import reduce

import pytest

from virtualserver.api.enums import RealServerState
from virtualserver.api.reasons import Reason
from virtualserver.model.monitoring import Result
from virtualserver.plan.health import ADOPTED, Track, combine, step

OK = Result(True, Reason.MONITOR_SUCCEEDED)
REFUSED = Result(False, Reason.CONNECTION_REFUSED, "connection refused")
LATE = Result(False, Reason.CONNECTION_TIMEOUT, "no answer within 1 s")


NEW = Track()


def after(results: str, start: Track = NEW, rise: int = 2, fall: int = 3) -> bool | None:
    """The state after a row of results, '+' and '-'."""
    return reduce(
        lambda track, sign: step(track, OK if sign == "+" else REFUSED, rise=rise, fall=fall), results, start
    ).up


@pytest.mark.parametrize(
    ("results", "up"),
    [
        ("", None),
        ("+", True),
        ("-", False),
        ("+--", True),
        ("+---", False),
        ("+--+--", True),
        ("-+", False),
        ("-++", True),
        ("-+-+-+", False),
        ("+---++", True),
    ],
)
def test_a_row_of_results_decides(results: str, up: bool | None) -> None:
    assert after(results) is up


def test_an_adopted_real_server_falls_only_after_as_many_failures_as_any_other() -> None:
    assert after("--", ADOPTED) is True
    assert after("---", ADOPTED) is False


def test_all_monitors_must_agree_and_the_one_that_does_not_gives_the_reason() -> None:
    up, down, unknown = step(Track(), OK, rise=1, fall=1), step(Track(), REFUSED, rise=1, fall=1), Track()
    assert combine([up, up]).state is RealServerState.UP
    assert combine([up, unknown]).state is RealServerState.UNKNOWN
    assert combine([up, down]) == combine([down, unknown])
    assert combine([up, down]).reason is Reason.CONNECTION_REFUSED
    assert combine([]).reason is Reason.NO_MONITOR


def test_the_reason_follows_the_failure_but_repeated_failures_change_nothing() -> None:
    down = step(Track(), REFUSED, rise=1, fall=1)
    again = step(down, Result(False, Reason.CONNECTION_REFUSED, "another text"), rise=1, fall=1)
    assert again == down
    late = step(down, LATE, rise=1, fall=1)
    assert combine([late]).reason is Reason.CONNECTION_TIMEOUT
