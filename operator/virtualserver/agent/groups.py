"""This node's part of the status of director groups, and who holds ``activeDirector`` while it changes hands.

The director that becomes active takes the field over by force. The one before lets it have it:

- It does not write its own name back, though its kernel may hold the addresses a moment longer. It insists again
  once the other one says no more that it is active, or once it becomes active anew.
- It does not take its name away before it is taken over, or the group would seem to be without a director in
  between; after ``HOLD`` it does, since then nobody is active. Until then it writes nothing at all: a write of its
  own could arrive after the other's.
"""

from __future__ import annotations

import asyncio

from virtualserver.api.enums import GroupRole
from virtualserver.cluster.managed import agent_manager
from virtualserver.cluster.port import StatusWriting
from virtualserver.cluster.resources import DIRECTOR_GROUPS
from virtualserver.cluster.status import StatusWriter
from virtualserver.plan.groupstatus import ownership, without_ownership
from virtualserver.plan.world import Json, ObjectKey, key_of

HOLD = 2.0
"""Seconds for which a former active director stays named when nobody takes over."""


class GroupStatuses:
    """Says what this node is to each group; ``writer`` is to be fed from the watch."""

    def __init__(self, api: StatusWriting, node: str) -> None:
        self._node = node
        self._told: dict[ObjectKey, Json] = {}
        self._named: dict[ObjectKey, str] = {}
        self._yielded: set[ObjectKey] = set()
        self._kept: dict[ObjectKey, asyncio.TimerHandle] = {}
        self.writer = StatusWriter(api, DIRECTOR_GROUPS, agent_manager(node), on_seen=self._seen)

    def set(self, name: str, status: Json | None) -> None:
        """Say what this node is to a group (``plan.groupstatus``); None: nothing any more."""
        key = ObjectKey("", name)
        if status is None:
            self._forget(key)
            self._told.pop(key, None)
            self._yielded.discard(key)
            self.writer.set(key, None)
            return
        before, now = (ownership(one) for one in (self._told.get(key, {}), status))
        self._told[key] = status
        if now and not before:
            self._forget(key)
        elif before and not now and key not in self._yielded:
            self._kept[key] = asyncio.get_running_loop().call_later(HOLD, self._let_go, key)
        if not (now and before):
            self._yielded.discard(key)
        self._say(key)

    async def close(self, flush: float = 0.0) -> None:
        """Stop; give pending writes up to ``flush`` seconds. Who was named stays named: the kernel stays as it is."""
        for key in list(self._kept):
            self._forget(key)
        await self.writer.close(flush)

    def _say(self, key: ObjectKey) -> None:
        told = self._told[key]
        if key in self._kept:
            self.writer.leave(key)
        else:
            self.writer.set(key, without_ownership(told) if key in self._yielded else told)

    def _seen(self, obj: Json) -> None:
        """Note who is named now, and give way to one that took over and says that it is active."""
        key, status = key_of(obj), obj.get("status") or {}
        before, holder = self._named.get(key), status.get("activeDirector", "")
        self._named[key] = holder
        if key not in self._told:
            return
        roles = {entry.get("node"): entry.get("role") for entry in status.get("directors") or []}
        if holder == self._node or roles.get(holder) != GroupRole.ACTIVE:
            self._yielded.discard(key)
        else:
            self._forget(key)
            if before == self._node and ownership(self._told[key]):
                self._yielded.add(key)
        self._say(key)

    def _let_go(self, key: ObjectKey) -> None:
        self._forget(key)
        self._say(key)

    def _forget(self, key: ObjectKey) -> None:
        """Stop keeping the name of a former term."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            kept.cancel()
