"""Rise and fall: what a row of check results means. Time plays no part; results come in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from virtualserver.api.enums import RealServerState
from virtualserver.api.reasons import Reason
from virtualserver.model.monitoring import Result


@dataclass(frozen=True, slots=True)
class Track:
    """One monitor's view of one real server.

    ``up`` is None until the first result. ``streak`` counts results in a row that speak against ``up``.
    ``result`` explains ``up``: the first of the results with the reason that holds now, so that a status
    that repeats it stays the same while nothing changes.
    """

    up: bool | None = None
    streak: int = 0
    result: Result | None = None


ADOPTED = Track(True, 0, Result(True, Reason.MONITOR_SUCCEEDED, "was up before the agent started"))
"""What an agent that starts assumes of a real server that the kernel already gives connections."""


def step(track: Track, result: Result, *, rise: int, fall: int) -> Track:
    """Return the track after one more result.

    The first result ever decides at once: a new real server waits for one success, not for ``rise``.
    """
    if track.up is None:
        return Track(result.ok, 0, result)
    if result.ok == track.up:
        known = track.result
        return Track(track.up, 0, known if known and known.reason == result.reason else result)
    streak = track.streak + 1
    if streak >= (fall if track.up else rise):
        return Track(result.ok, 0, result)
    return Track(track.up, streak, track.result)


@dataclass(frozen=True, slots=True)
class Health:
    """What all monitors together say of one real server."""

    state: RealServerState
    reason: Reason
    message: str = ""


UNMONITORED = Health(RealServerState.UP, Reason.NO_MONITOR, "no monitor is set")
UNCHECKED = Health(RealServerState.UNKNOWN, Reason.NOT_CHECKED_YET, "waiting for the first check")


def combine(tracks: Sequence[Track]) -> Health:
    """Return the health that several monitors give together: all must call it up, one is enough to call it down."""
    if not tracks:
        return UNMONITORED
    for track in tracks:
        if track.up is False and track.result is not None:
            return Health(RealServerState.DOWN, Reason(track.result.reason), track.result.message)
    if any(track.up is None for track in tracks):
        return UNCHECKED
    last = tracks[0].result
    return Health(RealServerState.UP, Reason.MONITOR_SUCCEEDED, last.message if last else "")
