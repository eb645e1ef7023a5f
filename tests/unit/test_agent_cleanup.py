"""The clean-up command waits for keepalived, and ends when nothing is left."""

from __future__ import annotations

from pathlib import Path

from virtualserver.agent import cleanup
from virtualserver.agent.programmer import Programmer
from virtualserver.agent.record import Record
from virtualserver.kernel.fake import FakeKernel


def test_a_node_that_has_been_active_is_clean_although_it_remembers_that(tmp_path: Path) -> None:
    record = Record(tmp_path / "record.json")
    record.serve(frozenset({"default"}))
    programmer = Programmer(FakeKernel(), record, lambda: 0.0)
    (only,) = cleanup.clean(programmer)
    assert not only.applied
    assert Record(tmp_path / "record.json").owned.served == {"default"}
