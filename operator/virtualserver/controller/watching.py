"""kopf in a thread and event loop of its own: what it blocks, cancels or dies of stays with it."""

from __future__ import annotations

import asyncio
import logging
import threading

import kopf

from virtualserver.cluster.client import GOODBYE
from virtualserver.cluster.pacing import Backoff
from virtualserver.cluster.resources import Resource
from virtualserver.controller import handlers
from virtualserver.controller.feed import Feed
from virtualserver.plan.world import Json

log = logging.getLogger(__name__)


class Watching:
    """Runs kopf until ``stop``, and again when it fails. Make it in the event loop that ``feed`` belongs to."""

    def __init__(self, feed: Feed) -> None:
        self._feed, self._loop = feed, asyncio.get_running_loop()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)

    @property
    def alive(self) -> bool:
        """False when the thread has ended, which it never should."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start watching."""
        handlers.quiet()
        self._thread.start()

    async def stop(self, seconds: float = 5.0) -> None:
        """Stop watching; waits for kopf up to ``seconds``."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join, seconds)

    def _run(self) -> None:
        backoff = Backoff(1.0, 30.0)
        while not self._stop.is_set():
            try:
                asyncio.run(self._operator())
            except Exception:
                log.exception("kopf failed; starting it again")
            self._stop.wait(backoff.next())

    async def _operator(self) -> None:
        try:
            await kopf.operator(
                registry=handlers.registry(self._take),
                settings=handlers.settings(),
                clusterwide=True,
                stop_flag=self._stop,
            )
        finally:
            # Its connections are closed, but TLS says goodbye in the loop, which ends with us.
            await asyncio.sleep(GOODBYE)

    def _take(self, resource: Resource, event: str | None, obj: Json) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._feed.take, resource, event, obj)
