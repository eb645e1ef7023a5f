"""Looks around for what stands in the way of packets, beside the loop: programming never waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from virtualserver.api.reasons import Reason
from virtualserver.kernel.port import KernelError
from virtualserver.model.facts import Facts, LinkFact, Questions
from virtualserver.plan.faults import Fault, confirmed, faults
from virtualserver.plan.preflight import Scene, cases, questions
from virtualserver.plan.world import ObjectKey

log = logging.getLogger(__name__)

EVERY, AGAIN, POLL = 10.0, 4.0, 1.0
"""Seconds between two looks; until a new fault is looked at again before it is told, and after any change at least;
between two glances at whether the world has changed (which ask nobody anything)."""

SHARE = 1.0
"""After a look the next one waits at least this many times as long as it took."""

Found = Mapping[ObjectKey, tuple[Fault, ...]]


class Looking(Protocol):
    """Sees links, routes and neighbours; blocking."""

    def links(self) -> Mapping[str, LinkFact]:
        """Return what is so of each link; raises KernelError."""
        ...

    def look(self, asked: Questions) -> Facts:
        """Answer all questions; raises KernelError."""
        ...


class Preflight:
    """Tells ``take`` what is wrong whenever that changes. A fault counts when two looks in a row saw it."""

    def __init__(
        self,
        eyes: Looking,
        scene: Callable[[], Scene | None],
        take: Callable[[Found], None],
        clock: Callable[[], float],
    ) -> None:
        self._eyes, self._scene, self._take, self._clock = eyes, scene, take, clock
        self._seen: Found = {}
        self._told: Found = {}
        self._looked_at: object = None

    async def run(self) -> None:
        """Look for ever; ends only by cancellation."""
        due = earliest = self._clock()
        while True:
            now, scene = self._clock(), self._scene()
            if scene is not None and (now >= due or (now >= earliest and self._changed(scene))):
                took = await self._look_once(scene)
                earliest = self._clock() + max(AGAIN, SHARE * took)
                due = earliest if self._doubtful else max(earliest, now + EVERY)
            await asyncio.sleep(POLL)

    def _changed(self, scene: Scene) -> bool:
        return self._looked_at != (id(scene.world), scene.actual.addresses)

    @property
    def _doubtful(self) -> bool:
        """True when something was seen once and is not told yet."""
        return any(set(found) - set(self._told.get(key, ())) for key, found in self._seen.items())

    async def _look_once(self, scene: Scene) -> float:
        """Look once; returns how many seconds it took."""
        began = self._clock()
        self._looked_at = (id(scene.world), scene.actual.addresses)
        try:
            seen = await asyncio.to_thread(self._look, scene)
        except Exception:
            # Nothing is fatal after start-up, nothing is swallowed: said here, tried again later.
            log.exception("preflight failed")
            return self._clock() - began
        told = {key: confirmed(found, self._seen.get(key, ())) for key, found in seen.items()}
        self._seen = seen
        if told != self._told:
            self._told = told
            self._take(told)
        return self._clock() - began

    def _look(self, scene: Scene) -> Found:
        concerned = cases(scene)
        if not concerned:
            return {}
        try:
            facts = self._eyes.look(questions(concerned, self._eyes.links()))
        except KernelError as error:
            log.warning("preflight failed", extra={"error": str(error)})
            blind = Fault(Reason.PREFLIGHT_FAILED, "", f"nobody knows what is wrong here: {error}")
            return {case.key: (blind,) for case in concerned}
        return {case.key: faults(case, facts) for case in concerned}
