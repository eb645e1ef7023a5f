from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import pytest

from unit.virtualtime import now, run
from virtualserver.api.enums import MonitorType
from virtualserver.api.reasons import Reason
from virtualserver.model.monitoring import Result, Target
from virtualserver.monitors.port import Monitor
from virtualserver.monitors.runner import SPREAD, Runner, sockets_at_once
from virtualserver.monitors.table import MONITORS

GOOD = Result(True, Reason.MONITOR_SUCCEEDED)


def target(number: int = 1, interval: float = 1.0, timeout: float = 0.5, kind: str = "TCP") -> Target:
    return Target(kind, ip_address("198.18.1.0") + number, 80, interval, timeout)


class Slow:
    """A monitor that takes ``seconds(target)`` and remembers when it was asked."""

    def __init__(self, seconds: Callable[[Target], float] = lambda _: 0.0) -> None:
        self.seconds, self.running, self.most = seconds, 0, 0
        self.starts: dict[Target, list[float]] = {}

    async def check(self, what: Target) -> Result:
        self.starts.setdefault(what, []).append(now() - 1000)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds(what))
        finally:
            self.running -= 1
        return GOOD


def case(
    test: Callable[[Runner], Awaitable[None]], monitor: Monitor, *, limit: int | None = None, spread: float = 0.0
) -> list[tuple[Target, Result]]:
    results: list[tuple[Target, Result]] = []

    async def main() -> None:
        runner = Runner(
            {"TCP": monitor},
            lambda what, result: results.append((what, result)),
            limit=limit,
            uniform=lambda _, high: spread * high,
        )
        await test(runner)
        await runner.close()
        assert len(asyncio.all_tasks()) == 1

    run(main())
    return results


def test_checks_run_start_to_start_without_drift() -> None:
    monitor = Slow(lambda _: 0.37)

    async def test(runner: Runner) -> None:
        runner.set_targets(frozenset({target()}))
        await asyncio.sleep(1000.1)

    case(test, monitor)
    starts = monitor.starts[target()]
    assert len(starts) == 1001
    assert starts[-1] == pytest.approx(1000, abs=1e-3)


def test_first_checks_are_at_once_but_spread() -> None:
    monitor = Slow()

    async def test(runner: Runner) -> None:
        runner.set_targets(frozenset({target(1, 10.0), target(2, 0.1)}))
        await asyncio.sleep(0.3)

    case(test, monitor, spread=1.0)
    assert monitor.starts[target(1, 10.0)] == [pytest.approx(SPREAD)]
    assert monitor.starts[target(2, 0.1)][0] == pytest.approx(0.1), "never later than one interval"


def test_a_slow_target_never_overlaps_itself_and_keeps_its_rhythm() -> None:
    monitor = Slow(lambda _: 1.2)

    async def test(runner: Runner) -> None:
        runner.set_targets(frozenset({target(timeout=2.0)}))
        await asyncio.sleep(9.9)

    case(test, monitor)
    assert monitor.most == 1
    assert monitor.starts[target(timeout=2.0)] == pytest.approx([0, 2, 4, 6, 8])


def test_new_targets_start_others_go_on_and_gone_ones_end_at_once() -> None:
    monitor = Slow(lambda _: 0.3)

    async def test(runner: Runner) -> None:
        runner.set_targets(frozenset({target(1), target(2)}))
        await asyncio.sleep(2.1)
        runner.set_targets(frozenset({target(1), target(3)}))
        await asyncio.sleep(2)

    results = case(test, monitor)
    assert monitor.starts[target(1)] == pytest.approx([0, 1, 2, 3, 4])
    assert monitor.starts[target(3)] == pytest.approx([2.1, 3.1])
    assert len([what for what, _ in results if what == target(2)]) == 2, "the third was under way and is not told"


def test_dead_targets_delay_nobody_for_ever() -> None:
    monitor = Slow(lambda what: 0.5 if what != target(200) else 0.0)

    async def test(runner: Runner) -> None:
        runner.set_targets(frozenset(target(number) for number in range(1, 201)))
        await asyncio.sleep(60)

    case(test, monitor, limit=10)
    assert monitor.most == 10
    counts = [len(starts) for starts in monitor.starts.values()]
    assert min(counts) >= 5
    assert max(counts) <= min(counts) + 2, "slots go round in order"


@pytest.mark.parametrize("error", [RuntimeError("boom"), OSError("boom"), ValueError("boom")])
def test_a_check_that_raises_is_a_monitor_error_and_goes_on(error: Exception) -> None:
    class Broken:
        async def check(self, _: Target) -> Result:
            raise error

    async def test(runner: Runner) -> None:
        runner.set_targets(frozenset({target()}))
        await asyncio.sleep(2.5)

    results = [result for _, result in case(test, Broken())]
    assert len(results) == 3
    assert all(not result.ok and result.reason == Reason.MONITOR_ERROR for result in results)
    assert "boom" in results[0].message


def test_a_monitor_that_does_not_come_to_an_end_is_cut_off() -> None:
    async def test(runner: Runner) -> None:
        runner.set_targets(frozenset({target()}))
        await asyncio.sleep(3)

    results = case(test, Slow(lambda _: 1e6))
    assert results[0][1].reason == Reason.MONITOR_ERROR


def test_an_unknown_type_is_said() -> None:
    async def test(runner: Runner) -> None:
        runner.set_targets(frozenset({target(kind="Morse")}))
        await asyncio.sleep(0.5)

    ((_, result),) = case(test, Slow())
    assert (result.ok, result.reason) == (False, Reason.MONITOR_ERROR)
    assert "Morse" in result.message


def test_a_result_that_cannot_be_taken_does_not_end_the_checks() -> None:
    count = itertools.count()

    def broken(*_: object) -> None:
        next(count)
        raise ValueError("no")

    async def main() -> None:
        runner = Runner({"TCP": Slow()}, broken)
        runner.set_targets(frozenset({target()}))
        await asyncio.sleep(5)
        await runner.close()

    run(main())
    assert next(count) >= 5


def test_a_thousand_targets_are_cheap() -> None:
    async def test(runner: Runner) -> None:
        runner.set_targets(frozenset(target(number) for number in range(1000)))
        await asyncio.sleep(2.9)

    began = time.process_time()
    results = case(test, Slow())
    assert len(results) == 3000
    assert (time.process_time() - began) / len(results) < 0.0005, "seconds of CPU for one check, all but the socket"


def test_there_is_a_monitor_for_every_type_of_the_api() -> None:
    assert set(MONITORS) == set(MonitorType)
    assert 16 <= sockets_at_once() <= 2048
