"""What a round costs with many virtual servers: counted in calls, so that a busy machine does not matter."""

from __future__ import annotations

import cProfile
from pathlib import Path

import pytest

from unit.builders import Json, store, virtual_server
from unit.test_agent_loop import at_once, loop
from virtualserver.agent.loop import Loop
from virtualserver.kernel.fake import FakeKernel
from virtualserver.model.failover import token
from virtualserver.plan.world import World


class Many:
    """Virtual servers with two real servers each."""

    complete = True

    def __init__(self, count: int) -> None:
        self.version = 1
        self._store = store(virtual_servers=[self._server(number) for number in range(count)])

    def _server(self, number: int, weight: int = 1) -> Json:
        servers = [{"address": f"198.18.1.{last}", "weight": weight} for last in (21, 22)]
        return virtual_server(f"web-{number}", addresses=[f"198.19.0.{number + 1}"], realServers=servers)

    def change(self) -> None:
        self.version += 1
        self._store.put("VirtualServer", self._server(3, self.version))

    def world(self) -> World:
        return self._store.world()


async def calls(folder: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Return how many calls a round takes in which nothing, and one in which one virtual server has changed."""

    monkeypatch.setattr("asyncio.to_thread", at_once)
    kernel, source = FakeKernel(), Many(count)
    kernel.addresses.add(token(51))
    made, _ = loop(folder, kernel, source=source)
    for _ in range(4):
        await made.once()
    assert len(kernel.services) == count
    steady = await counted(made)
    source.change()
    return steady, await counted(made)


async def counted(made: Loop) -> int:
    with cProfile.Profile() as profile:
        await made.once()
    return sum(one.callcount for one in profile.getstats())


async def test_a_round_costs_four_times_as_much_with_four_times_as_many_virtual_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = await calls(tmp_path / "few", 30, monkeypatch)
    many = await calls(tmp_path / "many", 120, monkeypatch)
    assert many[0] < 5 * few[0], "a round in which nothing has changed"
    assert many[1] < 5 * few[1], "a round in which one has changed"
