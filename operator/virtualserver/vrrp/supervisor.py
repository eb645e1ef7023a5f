"""Runs keepalived for as long as it is told to, and cleans up after it at once when it dies.

keepalived that dies leaves its addresses behind while another director takes over: two would answer for them. So they
are removed before anything else, and no group may be held again until the agent has looked at everything anew. One that
has stopped working is killed.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterable
from typing import BinaryIO

from virtualserver.kernel.keepalived import held
from virtualserver.kernel.links import look_once
from virtualserver.kernel.port import KernelError
from virtualserver.kernel.rundir import RunDir
from virtualserver.kernel.withdraw import withdraw
from virtualserver.model.addresses import LinkAddress
from virtualserver.model.failover import Instance
from virtualserver.vrrp.events import Events, indexes
from virtualserver.vrrp.process import Keepalived
from virtualserver.vrrp.pulse import EVERY, LOOKS, Pulse, too_still, works

log = logging.getLogger(__name__)

_BACK_OFF, _LONGEST = 0.5, 30.0
"""Seconds to the next start after keepalived died; twice as many after each, until it has run for the longest."""
_SETTLE = 1.0
"""Seconds from a link's coming to the reload: it gets its addresses after it was made. And from keepalived's start: it
passes over what it is told before it has set itself up."""
_FORMER = 10.0
"""Seconds in which addresses that are no longer wanted may still be held by keepalived."""


class Supervisor:
    """One for each directory; ``run`` returns when told to stop."""

    def __init__(self, run_dir: RunDir, program: str = "keepalived") -> None:
        self._dir = run_dir
        self._program = program
        self._keepalived: Keepalived | None = None
        self._lock: BinaryIO | None = None
        self._instances: tuple[Instance, ...] = ()
        self._former: dict[LinkAddress, float] = {}
        self._links: dict[str, int] = {}
        self._next_start = self._next_look = 0.0
        self._pulse = Pulse()
        self._reload_at: float | None = None
        self._back_off = _BACK_OFF

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT; afterwards nothing of keepalived's is left."""
        events = Events(self._dir.pipe)
        try:
            self._read()
            self._clean()
            while not events.stop:
                self._step(events)
        finally:
            self._end()
            events.close()

    def _step(self, events: Events) -> None:
        """Do what there is to do, then wait for more."""
        if self._keepalived is not None and self._keepalived.ended():
            self._buried()
        if events.told:
            events.told = False
            self._take_word()
        if events.links:
            events.links = False
            self._look_at_links()
        now = time.monotonic()
        if self._keepalived is not None and now >= self._next_look:
            self._next_look = now + EVERY
            self._feel(self._keepalived)
        if self._keepalived is None and self._instances and now >= self._next_start:
            self._start()
        if self._keepalived is not None and self._reload_at is not None and now >= self._reload_at:
            self._reload_at = None
            self._keepalived.reload()
        events.wait(self._patience(now))

    def _patience(self, now: float) -> float | None:
        if self._keepalived is not None:
            due = self._next_look if self._reload_at is None else min(self._next_look, self._reload_at)
        elif self._instances:
            due = self._next_start
        else:
            return None
        return max(due - now, 0.0)

    def _feel(self, keepalived: Keepalived) -> None:
        """End keepalived when it does nothing although it should."""
        still = self._pulse.look(keepalived.signs_of_life())
        if still < LOOKS:
            return
        allowed = [one for one in self._instances if self._dir.allowed(one.group)]
        try:
            links, present = look_once()
        except KernelError as error:
            log.error("%s", error)
            return
        if not (working := [one for one in allowed if works(one, links, present)]):
            self._pulse = Pulse()
        if not too_still(still, working, present):
            return
        log.error("keepalived does nothing any more, it is ended")
        self._clean()  # first: one that is stuck in the kernel ends when that lets it go
        keepalived.end(patience=0.0)
        self._buried()

    def _take_word(self) -> None:
        """The agent has written something: keepalived reads it now, whatever happened before."""
        self._read()
        self._next_start, self._back_off = 0.0, _BACK_OFF
        if self._keepalived is None:
            return
        if (ready := self._keepalived.started + _SETTLE) > time.monotonic():
            self._reload_at = ready
        else:
            self._keepalived.reload()

    def _look_at_links(self) -> None:
        """Reload when a link was made again: keepalived would wait on it for ever, as a standby that never wins."""
        found = indexes(self._names())
        if any(self._links.get(name) != index for name, index in found.items()):
            self._reload_at = time.monotonic() + _SETTLE
        self._links = found

    def _start(self) -> None:
        self._dir.forbid_all()
        self._links = indexes(self._names())
        try:
            self._keepalived = Keepalived(self._dir, self._program)
        except OSError as error:
            log.error("keepalived cannot be started: %s", error)
            self._postpone(0.0)
            return
        self._lock, self._pulse = self._locked(), Pulse()
        log.info("keepalived starts", extra={"groups": len(self._instances)})

    def _buried(self) -> None:
        """keepalived has died: nothing comes before the addresses."""
        assert self._keepalived is not None
        started = self._keepalived.started
        code = self._end()
        self._postpone(time.monotonic() - started)
        log.warning(
            "keepalived died", extra={"code": code, "next_start": round(self._next_start - time.monotonic(), 1)}
        )

    def _postpone(self, ran: float) -> None:
        if ran > _LONGEST:
            self._back_off = _BACK_OFF
        self._next_start = time.monotonic() + self._back_off
        self._back_off = min(2 * self._back_off, _LONGEST)

    def _end(self) -> int:
        """End keepalived if it runs, and clean up; return its exit code."""
        code = self._keepalived.end() if self._keepalived is not None else 0
        self._keepalived = None
        self._clean()
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        return code

    def _clean(self) -> None:
        """Remove what a keepalived that is no more has left, and forbid all: nothing is ready until looked at again."""
        try:
            if count := withdraw(self._ours()):
                log.warning("removed addresses that keepalived left behind", extra={"addresses": count})
        except (KernelError, OSError) as error:
            log.error("%s", error)
        self._dir.forbid_all()

    def _read(self) -> None:
        """Read what the agent wants; addresses that go are remembered for as long as keepalived may hold them."""
        before = self._instances
        try:
            self._instances = self._dir.load()
        except ValueError as error:
            log.error("cannot understand %s: %s", self._dir.instances, error)
            return
        limit = time.monotonic()
        self._former = {address: until for address, until in self._former.items() if until > limit}
        self._former |= dict.fromkeys(_held(before) - _held(self._instances), limit + _FORMER)

    def _ours(self) -> set[LinkAddress]:
        now = time.monotonic()
        return _held(self._instances) | {address for address, until in self._former.items() if until > now}

    def _names(self) -> set[str]:
        return {link for one in self._instances for link in (one.link, *one.links)}

    def _locked(self) -> BinaryIO:
        lock = self._dir.lock.open("wb")
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock


def _held(instances: Iterable[Instance]) -> set[LinkAddress]:
    return {address for one in instances for address in held(one)}
