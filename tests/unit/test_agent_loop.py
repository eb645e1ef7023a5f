"""What the agent's loop tells about its rounds."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from unit import virtualtime
from unit.builders import WEB, director_group, group_reports, standings, store, virtual_server
from virtualserver.agent.loop import Loop, Source
from virtualserver.agent.programmer import Programmer
from virtualserver.agent.record import Record
from virtualserver.api.enums import GroupRole
from virtualserver.api.reasons import Reason
from virtualserver.kernel.fake import FakeKernel
from virtualserver.model.failover import token
from virtualserver.model.operations import AddDestination, Operation, RemoveService
from virtualserver.plan.status import Json
from virtualserver.plan.transitions import Transition
from virtualserver.plan.world import ObjectKey, VirtualServer, World

SERVER = virtual_server(monitors=[])


class One:
    version, complete = 1, True

    def world(self) -> World:
        return store(virtual_servers=[SERVER]).world()


class Reporter:
    def __init__(self) -> None:
        self.events: list[Transition] = []
        self.statuses: dict[ObjectKey, Json | None] = {}
        self.groups: dict[str, Json | None] = {}
        self.uids: dict[ObjectKey, str] = {}

    def status(self, key: ObjectKey, status: Json | None, uid: str = "") -> None:
        self.statuses[key], self.uids[key] = status, uid

    def event(self, _server: VirtualServer, transition: Transition) -> None:
        self.events.append(transition)

    def reasons(self) -> list[Reason]:
        return [event.reason for event in self.events]


def loop(folder: Path, kernel: FakeKernel, taken: bool = False, source: Source | None = None) -> tuple[Loop, Reporter]:
    reporter = Reporter()
    record = Record(folder / "record.json")
    programmer, standing = Programmer(kernel, record, lambda: 0.0), standings(kernel, record, taken)
    reports = group_reports("director-1", reporter.groups)
    made = Loop("director-1", source or One(), programmer, standing, reports, reporter, lambda _: None, lambda: 0.0)
    return made, reporter


async def test_a_change_by_another_program_is_told(tmp_path: Path) -> None:
    kernel = FakeKernel()
    made, reporter = loop(tmp_path, kernel)
    await made.once()
    kernel.flush()
    await made.once()
    assert Reason.DRIFT_REPAIRED in reporter.reasons()


class Nothing:
    version, complete = 1, True

    def world(self) -> World:
        return World()


class Unreadable:
    version, complete = 1, True

    def world(self) -> World:
        return store(virtual_servers=[SERVER, virtual_server("other", addresses=["no address"])]).world()


async def test_a_virtual_server_that_cannot_be_read_hinders_no_other(tmp_path: Path) -> None:
    kernel = FakeKernel()
    made, _ = loop(tmp_path, kernel, source=Unreadable())
    await made.once()
    assert len(kernel.services) == 1


async def test_services_that_go_and_come_back_after_a_term_are_not_another_programs_doing(tmp_path: Path) -> None:
    removed: list[Operation] = []

    def note(_number: int, operation: Operation) -> int:
        removed.extend([operation] if isinstance(operation, RemoveService) else [])
        return 0

    kernel = FakeKernel(fail=note)
    made, reporter = loop(tmp_path, kernel, taken=True)
    for holds in (False, True, False, False):
        (kernel.addresses.add if holds else kernel.addresses.discard)(token(51))
        await made.once()
    assert removed, "connections of the term were forgotten"
    assert kernel.services
    assert Reason.DRIFT_REPAIRED not in reporter.reasons()


async def test_a_status_is_said_of_the_very_object_that_was_looked_at(tmp_path: Path) -> None:
    made, reporter = loop(tmp_path, FakeKernel())
    await made.once()
    assert reporter.uids == {WEB: SERVER["metadata"]["uid"]}


async def test_a_write_that_the_kernel_refuses_again_is_not_another_programs_doing(tmp_path: Path) -> None:
    def fail(_number: int, operation: Operation) -> int:
        return errno.ENOMEM if isinstance(operation, AddDestination) else 0

    made, reporter = loop(tmp_path, FakeKernel(fail=fail))
    for _ in range(4):
        await made.once()
    assert Reason.DRIFT_REPAIRED not in reporter.reasons()
    status: Any = reporter.statuses[WEB]
    assert status["conditions"][0]["reason"] == Reason.KERNEL_REFUSED


async def test_a_director_whose_kernel_cannot_be_read_is_not_ready_and_says_why_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = FakeKernel()
    kernel.unreadable = "this kernel has no IPVS"
    made, reporter = loop(tmp_path, kernel)
    assert made.unready == "no round has been finished yet"
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(made.run())
        while kernel.reads < 3:
            made.wake()
            await asyncio.sleep(0.01)
        assert role(reporter) == (GroupRole.NOT_READY, Reason.KERNEL_UNREADABLE, "this kernel has no IPVS")
        assert made.unready == "this kernel has no IPVS", "an upgrade goes no further"
        kernel.unreadable = ""
        while role(reporter)[1] == Reason.KERNEL_UNREADABLE:
            made.wake()
            await asyncio.sleep(0.01)
        assert not made.unready
        running.cancel()
    assert [record.message for record in caplog.records].count("round failed") == 1


async def test_a_director_that_has_old_connections_to_forget_is_not_ready_meanwhile(tmp_path: Path) -> None:
    """An upgrade would go on to the active one, which hands over to nobody."""
    kernel = FakeKernel()
    kernel.kept[ip_address(SERVER["spec"]["addresses"][0])] = 7
    kernel.addresses.add(token(51))
    made, _ = loop(tmp_path, kernel, taken=True)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(made.run())
        while made.unready != "it does not have the connections yet: default":
            made.wake()
            await asyncio.sleep(0.01)
        kernel.kept.clear()
        while made.unready:
            made.wake()
            await asyncio.sleep(0.01)
        running.cancel()


async def test_a_node_without_ipvs_that_has_nothing_to_do_is_ready(tmp_path: Path) -> None:
    kernel = FakeKernel()
    kernel.unreadable = "this kernel has no IPVS"
    made, _ = loop(tmp_path, kernel, source=Nothing())
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(made.run())
        while kernel.reads < 2:
            made.wake()
            await asyncio.sleep(0.01)
        running.cancel()
    assert not made.unready


@pytest.mark.parametrize(("holds", "looks"), [(True, 40), (False, 10)])
def test_a_standby_that_is_ready_looks_at_its_kernel_less_often_than_the_active_director(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: bool, looks: int
) -> None:
    async def ten_seconds(made: Loop, kernel: FakeKernel) -> int:
        running = asyncio.ensure_future(made.run())
        await asyncio.sleep(20)
        before = kernel.reads
        await asyncio.sleep(10)
        running.cancel()
        return kernel.reads - before

    monkeypatch.setattr("asyncio.to_thread", at_once)
    kernel = FakeKernel()
    made, _ = loop(tmp_path, kernel)
    if not holds:
        kernel.failover.lost.add("default")
    assert virtualtime.run(ten_seconds(made, kernel)) == pytest.approx(looks, abs=looks / 10)


async def at_once(work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """In the place of `asyncio.to_thread`."""
    return work(*arguments, **named)


def role(reporter: Reporter) -> tuple[str, str, str]:
    (entry,) = (reporter.groups["default"] or {})["directors"]
    return entry["role"], entry["reason"], entry["message"]


async def test_a_director_that_is_active_stays_so_when_its_kernel_cannot_be_read(tmp_path: Path) -> None:
    said: dict[str, Any] = {}
    group = director_group()
    group["status"] |= {"directors": [{"node": "director-1", "role": "Active", "reason": "", "message": ""}]}
    group_reports("director-1", said).unreadable(store(groups=[group]).world(), "out of memory")
    assert said == {}, "keepalived and the kernel go on"
