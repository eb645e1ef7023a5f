"""When newest connections are pushed out: the counters that say so, and what a failure costs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path

import pytest

from virtualserver.kernel import tick
from virtualserver.kernel.tick import Tick, packets

TABLE = """\
       Total Incoming Outgoing         Incoming         Outgoing
CPU    Conns  Packets  Packets            Bytes            Bytes
  0        3        A        8              2DC              1F0
  A        1       10        0              100                0
  ~        4       FF        8              3DC              1F0

     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s
           0        1        0                0                0
"""


class Asked:
    """Whether connections are mirrored: always; and how often that was asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> bool:
        self.times += 1
        return True


def test_packets_of_all_processors_are_counted_and_totals_that_are_late_are_not() -> None:
    assert packets(TABLE) == 0xA + 0x10


def test_a_kernel_without_counters_is_said_once_and_the_agent_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tick, "INTERVAL", 0.001)
    monkeypatch.setattr(tick, "IDLE", 0.001)
    asked = Asked()

    made = Tick(asked, tmp_path / "none")

    async def some_time() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(made.run(), 0.2)

    with caplog.at_level(logging.WARNING):
        asyncio.run(some_time())
    assert asked.times > 2
    assert len(caplog.records) == 1


def test_a_busy_agent_does_not_make_new_connections_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "IDLE", 0.001)
    asked = Asked()

    async def busy() -> int:
        running = asyncio.create_task(Tick(asked, tmp_path / "none").run())
        await asyncio.sleep(0.01)
        before = asked.times
        time.sleep(0.1)  # noqa: ASYNC251 - a round that keeps the loop is what this is about
        meanwhile = asked.times - before
        running.cancel()
        return meanwhile

    assert asyncio.run(busy()) > 2
