"""The wanted state as the agent's loop sees it: live once everything was listed, the stored one before that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from virtualserver.agent.cache import CachedStore, load, save
from virtualserver.agent.record import RecordError
from virtualserver.plan.store import Store
from virtualserver.plan.world import World

log = logging.getLogger(__name__)

STORED = -1
"""Version of what the last run knew."""
SAVE_EVERY = 1.0
"""Seconds between two writes of the stored state at most."""


class StoredSource:
    """``live`` is fed by the watches; ``synced`` says whether each of them has listed its kind once."""

    def __init__(self, path: Path, synced: Callable[[], bool]) -> None:
        self.live = CachedStore()
        self._path = path
        self._synced = synced
        self._stored: Store | None = load(path)
        self._saved: int | None = None

    @property
    def version(self) -> int:
        """A number that is different whenever ``world`` is; ``STORED`` stands for the stored state."""
        return self.live.version if self.complete else STORED

    @property
    def complete(self) -> bool:
        """True when every kind was listed at least once since the start."""
        return self._synced()

    def world(self) -> World:
        """Return the cluster as known now; before everything was listed, as the last run knew it."""
        if self.complete:
            return self.live.world()
        return self._stored.world() if self._stored is not None else World()

    async def keep_saved(self) -> None:
        """Write the state to disk whenever it has changed, until cancelled."""
        while True:
            await asyncio.sleep(SAVE_EVERY)
            version = self.version
            if not self.complete or version == self._saved:
                continue
            try:
                await asyncio.to_thread(save, self._path, self.live.snapshot())
                self._saved = version
            except RecordError as error:
                log.error("wanted state not stored", extra={"error": str(error)})
