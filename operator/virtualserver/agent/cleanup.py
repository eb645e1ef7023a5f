"""Remove everything of ours from this node's kernel, as the node's record has it."""

from __future__ import annotations

import os
import sys
import time

from virtualserver.agent.programmer import Programmer
from virtualserver.agent.record import Record, RecordError
from virtualserver.agent.settings import SettingsError, settings
from virtualserver.kernel.netlink import Netlink
from virtualserver.kernel.port import KernelError
from virtualserver.model.types import State
from virtualserver.plan.desired import Circumstances, Plan
from virtualserver.telemetry import set_up_logging


def main() -> int:
    """Clean this node; returns the exit code. Run it after the agent was stopped."""
    set_up_logging()
    try:
        chosen = settings({"NODE_NAME": "any", **os.environ})
        programmer = Programmer(
            Netlink(proc_sys=chosen.proc_sys, run_dir=chosen.run_dir),
            Record(chosen.state_dir / "record.json"),
            time.monotonic,
            patience=0,
        )
        done = programmer.round(_nothing, lambda _: (), complete=True)
    except (SettingsError, RecordError, KernelError) as error:
        print(f"virtualserver clean-up: {error}", file=sys.stderr)
        return 1
    for outcome in done.outcomes:
        print(f"{'removed' if outcome.ok else 'failed'}: {outcome.operation} {outcome.message}".rstrip())
    if not done.applied:
        print("nothing of ours is in this node's kernel")
    return 0 if all(outcome.ok for outcome in done.outcomes) else 1


def _nothing(_actual: State, _circumstances: Circumstances) -> Plan:
    return Plan()
