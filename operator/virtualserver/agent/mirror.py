"""How well this node's kernel mirrors the connections of its groups' active directors: asked, taken over, measured.

A task beside the loop. It may fail in every way and stops nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from virtualserver.agent.following import TICK, Figures, Follower, Hands, Hearing
from virtualserver.agent.peers import Peers
from virtualserver.agent.view import View
from virtualserver.api.failover import MirrorReport

log = logging.getLogger(__name__)


class Mirror:
    """``wake`` is called when there is something new to act on. Answers may be asked for from any thread."""

    def __init__(
        self,
        node: str,
        peers: Peers,
        hands: Hands,
        hearing: Hearing,
        view: Callable[[], View | None],
        wake: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._make: Callable[[str], Follower] = lambda group: Follower(node, group, peers, hands, hearing, clock)
        self._view, self._wake = view, wake
        self._followers: dict[str, Follower] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._plan: object = None

    # What is known

    def behind(self, group: str) -> bool:
        """Return whether this node still lacks connections of the active director of a group that is mirrored."""
        found = self._followers.get(group)
        return found is None or not found.caught

    def deaf(self, group: str) -> bool:
        """Return whether the receiver must be started again."""
        found = self._followers.get(group)
        return found is not None and found.deaf

    def lapse(self, groups: Iterable[str]) -> None:
        """Note that this node is active in these groups, or forgets: it must catch up when that has ended."""
        for name in groups:
            if name in self._followers:
                self._followers[name].lapse()

    def report(self, group: str) -> MirrorReport | None:
        """Return what was measured; None where nothing is mirrored, or to this node."""
        found = self._followers.get(group)
        return found.report if found is not None else None

    def caught_up(self, group: str, request: str) -> bool:
        """Return whether this node has all connections of the active director since a failover was asked for."""
        found = self._followers.get(group)
        return found is not None and found.answered == request

    @property
    def figures(self) -> dict[str, Figures]:
        """The last comparisons, by group."""
        return {name: one.figures for name, one in self._followers.items() if one.figures is not None}

    # The event loop

    async def run(self) -> None:
        """Follow the groups of this node for ever; ends only by cancellation."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                view = self._view()
                if view is not None and view.plan is not self._plan:
                    self._plan = view.plan
                    self._follow_all(view.plan.mirrored, tasks)
                await asyncio.sleep(TICK)

    def _follow_all(self, groups: frozenset[str], tasks: asyncio.TaskGroup) -> None:
        for name in self._tasks.keys() - groups:
            self._tasks.pop(name).cancel()
            self._followers = {one: found for one, found in self._followers.items() if one != name}
        for name in groups - self._tasks.keys():
            self._followers = self._followers | {name: self._make(name)}
            self._tasks[name] = tasks.create_task(self._follow(name, self._followers[name]))

    async def _follow(self, name: str, one: Follower) -> None:
        while True:
            view, before = self._view(), one.state
            try:
                # The world is newer than the plan: a group that has just been deleted is still in that.
                if view is not None and name in view.plan.groups.keys() & view.world.groups.keys():
                    await one.step(view)
            except Exception:
                # Nothing is fatal after start-up, nothing is swallowed.
                log.exception("mirroring not followed", extra={"group": name})
                await asyncio.sleep(TICK * 10)
            if one.state != before:
                self._wake()
            await asyncio.sleep(TICK)
