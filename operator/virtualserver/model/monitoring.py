"""What a monitor is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from virtualserver.model.types import IPAddress


@dataclass(frozen=True, slots=True)
class Target:
    """One check of one real server; equal targets of several virtual servers are checked once.

    ``interval`` (start to start) and ``timeout`` are in seconds.
    """

    type: str
    address: IPAddress
    port: int
    interval: float
    timeout: float


@dataclass(frozen=True, slots=True)
class Result:
    """The answer of one check; ``reason`` is a word of ``api.reasons.Reason``, ``message`` a sentence."""

    ok: bool
    reason: str
    message: str = ""
