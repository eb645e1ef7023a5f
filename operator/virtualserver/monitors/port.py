"""What the runner asks of a monitor."""

from __future__ import annotations

from typing import Protocol

from virtualserver.model.monitoring import Result, Target


class Monitor(Protocol):
    """One way to check a real server."""

    async def check(self, target: Target) -> Result:
        """Check once, within ``target.timeout`` seconds. What raises becomes a MonitorError.

        Messages must be the same for the same fault (no durations, no counters): they are shown in the
        status, and a status is written whenever it changes.
        """
        ...
