"""Remove everything of ours from this node's kernel, as the node's record has it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from virtualserver.agent.programmer import Programmer
from virtualserver.agent.record import Record, RecordError
from virtualserver.agent.settings import SettingsError, settings
from virtualserver.kernel.netlink import Netlink
from virtualserver.kernel.port import KernelError
from virtualserver.model.operations import Outcome
from virtualserver.model.types import Owned, State
from virtualserver.plan.desired import Circumstances, Plan
from virtualserver.telemetry import set_up_logging

ROUNDS, PAUSE = 20, 0.25
"""Looks at the kernel, and seconds between them: keepalived is given its time to let go of addresses by itself."""


def main() -> int:
    """Clean this node; returns the exit code. Run it after the agent was stopped."""
    set_up_logging()
    try:
        chosen = settings({"NODE_NAME": "any", **os.environ})
        kernel = Netlink(proc_sys=chosen.proc_sys, run_dir=chosen.run_dir)
        programmer = Programmer(kernel, Record(chosen.state_dir / "record.json"), time.monotonic)
        outcomes = list(_clean(programmer))
    except (SettingsError, RecordError, KernelError) as error:
        print(f"virtualserver clean-up: {error}", file=sys.stderr)
        return 1
    for outcome in outcomes:
        print(f"{'removed' if outcome.ok else 'failed'}: {outcome.operation} {outcome.message}".rstrip())
    if not _clean_now(programmer):
        print("virtualserver clean-up: not everything could be removed; see above", file=sys.stderr)
        return 1
    if not outcomes:
        print("nothing of ours is in this node's kernel")
    return 0


def _clean(programmer: Programmer) -> Iterator[Outcome]:
    """Yield what became of each operation, until nothing of ours is left."""
    for _ in range(ROUNDS):
        yield from programmer.round(_nothing, lambda _: (), complete=True).outcomes
        if _clean_now(programmer):
            return
        time.sleep(PAUSE)


def _clean_now(programmer: Programmer) -> bool:
    """Return whether nothing is left; that connections of a former term may be, is remembered for the next agent."""
    return replace(programmer.owned, served=frozenset()) == Owned()


def _nothing(_actual: State, _circumstances: Circumstances) -> Plan:
    return Plan()
