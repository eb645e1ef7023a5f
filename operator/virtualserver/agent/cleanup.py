"""Remove everything of ours from this node's kernel, as the node's record has it."""

from __future__ import annotations

import os
import sys
import time

from virtualserver.agent.programmer import Programmer, Round
from virtualserver.agent.record import Record, RecordError
from virtualserver.agent.settings import SettingsError, settings
from virtualserver.kernel.netlink import Netlink
from virtualserver.kernel.port import KernelError
from virtualserver.model.types import State
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
        rounds = clean(Programmer(kernel, Record(chosen.state_dir / "record.json"), time.monotonic))
    except (SettingsError, RecordError, KernelError) as error:
        print(f"virtualserver clean-up: {error}", file=sys.stderr)
        return 1
    outcomes = [outcome for done in rounds for outcome in done.outcomes]
    for outcome in outcomes:
        print(f"{'removed' if outcome.ok else 'failed'}: {outcome.operation} {outcome.message}".rstrip())
    if rounds[-1].applied:
        print("virtualserver clean-up: not everything could be removed; see above", file=sys.stderr)
        return 1
    if not outcomes:
        print("nothing of ours is in this node's kernel")
    return 0


def clean(programmer: Programmer) -> list[Round]:
    """Look and remove until there is nothing left to do, also for keepalived; raises KernelError and RecordError."""
    rounds: list[Round] = []
    for _ in range(ROUNDS):
        rounds.append(programmer.round(_nothing, lambda _: (), complete=True))
        if not rounds[-1].applied and not programmer.owned.addresses & rounds[-1].actual.addresses:
            break
        time.sleep(PAUSE)
    return rounds


def _nothing(_actual: State, _circumstances: Circumstances) -> Plan:
    return Plan()
