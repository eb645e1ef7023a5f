from __future__ import annotations

import asyncio
import itertools

from unit.virtualtime import now, run
from virtualserver.cluster.pacing import Backoff, Gate


def test_backoff_doubles_up_to_the_longest_and_starts_again() -> None:
    backoff = Backoff(0.2, 10.0, uniform=lambda _, high: high)
    assert [backoff.next() for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    backoff.reset()
    assert backoff.next() == 0.2


def test_backoff_is_spread_over_half_of_its_step() -> None:
    assert Backoff(2.0, uniform=lambda low, _: low).next() == 1.0


def test_one_probe_a_second_asks_for_all_who_wait() -> None:
    probes: list[float] = []

    async def probe() -> bool:
        probes.append(now())
        return now() >= 1060

    async def main() -> None:
        gate = Gate(probe)
        assert all(await asyncio.gather(*(gate.passed() for _ in range(50))))
        assert now() <= 1062, "the end of the outage is noticed within two seconds"
        assert len(probes) <= 2 * 60
        assert all(later - earlier >= 0.5 for earlier, later in itertools.pairwise(probes))

    run(main())


def test_an_api_server_that_was_never_away_is_told_apart() -> None:
    async def probe() -> bool:
        return True

    async def main() -> None:
        assert not await Gate(probe).passed()

    run(main())


def test_who_stops_waiting_does_not_stop_the_others() -> None:
    async def probe() -> bool:
        return now() >= 1010

    async def main() -> None:
        gate = Gate(probe)
        first, second = asyncio.create_task(gate.passed()), asyncio.create_task(gate.passed())
        await asyncio.sleep(1)
        first.cancel()
        assert await second
        await gate.close()

    run(main())
