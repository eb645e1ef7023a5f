"""What the agent's loop tells about its rounds."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from unit.builders import WEB, group_reports, standings, store, virtual_server
from virtualserver.agent.loop import Loop
from virtualserver.agent.programmer import Programmer
from virtualserver.agent.record import Record
from virtualserver.api.reasons import Reason
from virtualserver.kernel.fake import FakeKernel
from virtualserver.model.operations import AddDestination, Operation
from virtualserver.plan.status import Json
from virtualserver.plan.transitions import Transition
from virtualserver.plan.world import ObjectKey, VirtualServer, World

SERVER = virtual_server(monitors=[])


class Source:
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


def loop(folder: Path, kernel: FakeKernel) -> tuple[Loop, Reporter]:
    reporter = Reporter()
    record = Record(folder / "record.json")
    programmer, standing = Programmer(kernel, record, lambda: 0.0), standings(kernel, record)
    reports = group_reports("director-1", reporter.groups)
    made = Loop("director-1", Source(), programmer, standing, reports, reporter, lambda _: None, lambda: 0.0)
    return made, reporter


async def test_a_change_by_another_program_is_told(tmp_path: Path) -> None:
    kernel = FakeKernel()
    made, reporter = loop(tmp_path, kernel)
    await made.once()
    kernel.flush()
    await made.once()
    assert Reason.DRIFT_REPAIRED in reporter.reasons()


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
