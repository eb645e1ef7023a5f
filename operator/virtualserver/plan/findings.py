"""A finding: whether something holds, one word why, and the same in a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from virtualserver.api.reasons import Reason


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; becomes a condition, an event and a log line with the same reason."""

    ok: bool
    reason: Reason
    message: str
