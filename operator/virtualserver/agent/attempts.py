"""How often a virtual server could not be programmed, and when it is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from virtualserver.plan.findings import Finding
from virtualserver.plan.world import ObjectKey

TRIES = 3
"""Failures in a row after which a virtual server is withdrawn: no address over a table that is not as intended."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between tries of a withdrawn virtual server; doubled from one to the other."""


@dataclass(frozen=True, slots=True)
class _State:
    failures: int
    until: float
    finding: Finding


class Attempts:
    """Failures by virtual server. Times are seconds of the caller's monotonic clock."""

    def __init__(self) -> None:
        self._states: dict[ObjectKey, _State] = {}

    def failed(self, key: ObjectKey, finding: Finding, now: float) -> None:
        """Note one more failure."""
        before = self._states.get(key)
        failures = before.failures + 1 if before else 1
        pause = 0.0
        if failures >= TRIES:
            pause = min(FIRST_PAUSE * 2 ** (failures - TRIES), LONGEST_PAUSE)
        self._states[key] = _State(failures, now + pause, finding)

    def succeeded(self, key: ObjectKey) -> None:
        """Forget the failures of a virtual server that is programmed as intended."""
        self._states.pop(key, None)

    def keep_only(self, keys: frozenset[ObjectKey]) -> None:
        """Forget virtual servers that are no longer ours to program."""
        self._states = {key: state for key, state in self._states.items() if key in keys}

    def suspended(self, now: float) -> frozenset[ObjectKey]:
        """Return the virtual servers of which nothing is wanted in the kernel at this time."""
        return frozenset(key for key, state in self._states.items() if state.failures >= TRIES and now < state.until)

    @property
    def findings(self) -> dict[ObjectKey, Finding]:
        """Why each virtual server could not be programmed the last time."""
        return {key: state.finding for key, state in self._states.items()}
