"""One group of this node while it stands by: gets the active director's connections, measures how they are mirrored.

For the event loop; what blocks runs in threads, in pieces. Nothing here trusts a clock but the monotonic one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from virtualserver.agent.peers import PeerError, Peers
from virtualserver.agent.slices import slices
from virtualserver.agent.view import View
from virtualserver.api.base import seconds
from virtualserver.api.enums import MirrorState
from virtualserver.api.failover import MirrorReport
from virtualserver.kernel import connections
from virtualserver.kernel.port import KernelError
from virtualserver.model.connections import Connection
from virtualserver.model.failover import Heard, SyncDaemon, SyncRole
from virtualserver.model.types import IPAddress
from virtualserver.plan import mirroring, vrrp
from virtualserver.plan.eligibility import pending
from virtualserver.plan.groups import mirroring_link
from virtualserver.plan.world import DirectorGroup

log = logging.getLogger(__name__)

EVERY, SOON = 5.0, 3.0
"""Seconds between comparisons; and until the second one."""

SAMPLE = 2000
"""Connections that are compared."""

PATIENCE, HURRY = 10.0, 5.0
"""Seconds in which the active director may be out of reach before it is done without its connections; and before this
node takes over from it, when that was asked for."""

PASSES, LONGEST, SETTLE = 4, 600.0, 0.3
"""Times that the whole table is asked for at most; seconds for all of that; and for the receiver to take its part."""

ENDING, ENDED = 1, 1.5
"""In the second of these times persistence templates that were handed on in vain are given a second to live, and are
looked for after so many: the kernel keeps one that sends the client to another real server, and only renews it
(``ip_vs_sync.c``: ``ip_vs_proc_conn``)."""

TICK = 0.25
"""Seconds between looks at what is due, and at whether the active director is still heard."""

REPAIR, RESTART = 10.0, 300.0
"""Seconds between two attempts to get what is missing, and between two starts of a receiver that is deaf."""

_RETRY = 1.0
_SHARE = 10
"""Comparing a large table takes long, and so does getting it: at most a tenth of the time is spent on either."""

Take = Callable[[int, Connection], Connection | None]


@dataclass(frozen=True, slots=True)
class Hands:
    """``lines`` reads this kernel's table, ``inject`` hands connections to its receiver. Both block."""

    lines: Callable[[], Iterator[str]]
    inject: Callable[[list[Connection], SyncDaemon], int]


class Hearing(Protocol):
    """Who else is active for a virtual router."""

    def taken(self, router_id: int) -> bool:
        """Return whether another director is."""
        ...

    def heard(self, router_id: int) -> Heard | None:
        """Return the last advertisement of another director."""
        ...


class Figures(NamedTuple):
    """A comparison with the look before, ``interval`` seconds ago: connections, and those of them not here."""

    compared: int
    missing: int
    interval: float


class Follower:
    """``caught``: this node has what it needs of the group's connections, or cannot get it. Times are seconds."""

    def __init__(
        self, node: str, group: str, peers: Peers, hands: Hands, hearing: Hearing, clock: Callable[[], float]
    ) -> None:
        self._node, self._group = node, group
        self._peers, self._hands, self._hearing, self._clock = peers, hands, hearing, clock
        self._term = 0
        self._adopted = False
        self._restarted: float | None = None
        self._rest()

    def _rest(self) -> None:
        """Forget everything: this node's own connections are the ones that count, or none do."""
        self.caught, self.deaf, self.answered = False, False, ""
        self.report: MirrorReport | None = None
        self.figures: Figures | None = None
        self._measured: MirrorReport | None = None
        self._heard_at: float | None = None
        self._troubled: float | None = None
        self._began: float | None = None
        self._pause = REPAIR
        self._pulled = self._told_at = self._next_try = self._next_look = self._looked = 0.0
        self._look: mirroring.Look | None = None
        self._again = False
        self._asked = ""

    def lapse(self) -> None:
        """Note that this node is active, or forgets; from any thread."""
        self._term += 1
        self.caught = False

    @property
    def state(self) -> tuple[object, ...]:
        """What others act on."""
        return self.caught, self.deaf, self.answered, self.report

    async def step(self, view: View) -> None:
        """Do what is due."""
        group = view.world.groups[self._group]
        assert group.spec is not None
        if self._group in view.standing.active | view.standing.purging:
            self._adopted = True
            self._rest()
            return
        if not self._adopted:
            # An agent that restarts goes on where it was; where keepalived restarted too, the node may have as well.
            self._adopted = True
            self.caught = self._group in view.actual.eligible and view.actual.electing
        now = self._clock()
        receiver = next((one for one in view.actual.daemons if one.role is SyncRole.RECEIVER), None)
        if receiver is None:
            self._again = True  # what begins while another group's are forgotten, say, is not sent again
        if self.deaf:
            self._start_again(receiver, now)
        elif self._hears(group, now) and now >= self._next_try:
            await self._try(view, receiver, now)

    def _hears(self, group: DirectorGroup, now: float) -> bool:
        """Return whether another director is active; after some time of silence none is."""
        assert group.spec is not None
        self._heard_at = now if self._heard_at is None else self._heard_at
        if self._is_taken(group):
            return True
        if now - self._heard_at >= min(PATIENCE, 1 + 4 * seconds(group.spec.vrrp.advertisement_interval)):
            self.caught, self._measured, self.report = True, None, mirroring.alone()
            self._again, self._look = True, None  # who is heard again has served meanwhile
        return False

    def _is_taken(self, group: DirectorGroup) -> bool:
        assert group.spec is not None
        if not self._hearing.taken(group.spec.vrrp.router_id):
            return False
        self._heard_at = self._clock()
        return True

    async def _try(self, view: View, receiver: SyncDaemon | None, started: float) -> None:
        term, able = self._term, False
        try:
            if receiver is None:
                raise PeerError(self._no_receiver(view))
            if view.plan.state.services.keys() - view.actual.services.keys():
                raise PeerError("virtual services of this node are not programmed")
            able = True
            await self._while_heard(self._work(view, receiver, term), view)
            self._troubled = None
        except (PeerError, KernelError) as error:
            now = self._clock()
            self._troubled = max(started, self._told_at) if self._troubled is None else self._troubled
            self._next_try = now + _RETRY
            unheard = able and isinstance(error, PeerError)  # else it is this node that is not fit
            if unheard and now - self._troubled >= HURRY:  # its kernel mirrors by itself, and it is one to be rid of
                self.answered = self._asked_for(view)
            if now - self._troubled >= PATIENCE:
                self._tell(mirroring.unknown(str(error)))
                self.caught = self._term == term

    def _no_receiver(self, view: View) -> str:
        """Return why mirrored connections cannot come."""
        spec = view.world.groups[self._group].spec
        assert spec is not None
        if (link := mirroring_link(spec)) in view.actual.mtus:
            return "no receiver of mirrored connections runs on this node"
        field = "spec.mirroring.interface" if spec.mirroring.interface else "spec.interface"
        return f"{field}: this node has no link {link}"

    async def _while_heard(self, work: Coroutine[Any, Any, None], view: View) -> None:
        """Do what may take long as long as the other director is active: nobody is to wait for one that is not."""
        task = asyncio.create_task(work)
        try:
            async with asyncio.timeout(LONGEST):
                while not (await asyncio.wait({task}, timeout=TICK))[0]:
                    if not self._is_taken(view.world.groups[self._group]):
                        return
            task.result()
        except TimeoutError:
            raise PeerError(f"not done within {LONGEST:.0f} s") from None
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _work(self, view: View, receiver: SyncDaemon, term: int) -> None:
        asked = self._asked_for(view)
        awaited = not self.caught or asked not in ("", self.answered)
        if awaited or self._again:
            self._began = self._clock() if self._began is None else self._began
            enough = await self._catch_up(view, receiver)
            if awaited and not enough:  # real servers that are not checked yet, say
                self._next_try = self._clock() + _RETRY
            if self._term == term and (enough or not awaited or self._clock() - self._began >= PATIENCE):
                self.caught, self._again, self._began = True, False, None
                self.answered = asked if enough else self.answered
        elif self._clock() >= self._next_look:
            self._began = None
            await self._compare(view)

    def _asked_for(self, view: View) -> str:
        """Return the id of the planned failover that this node is to be ready for; "" for none."""
        request = pending(view.world.groups[self._group], view.standing)
        return request.id if request is not None and request.to in ("", self._node) else ""

    async def _catch_up(self, view: View, receiver: SyncDaemon) -> bool:
        """Get all connections of the active director that can be had here; returns whether nearly all are here."""
        take, wanted, lacking, began = mirroring.taker(view.actual.services), set[int](), 0, self._clock()
        own, stuck = await self._own(), frozenset[int]()
        for number in range(PASSES):
            ending = stuck if number == ENDING else frozenset()
            wanted, injected, templates = await self._pull(view, _ended(take, ending), own, receiver)
            if injected:
                await asyncio.sleep(ENDED if ending else SETTLE)
                own = await self._own()
            lacking = len(wanted - own)
            stuck = frozenset(templates - own)
            if not injected or (not stuck and mirroring.enough(len(wanted), lacking)):
                break
        self._pulled = self._clock()
        # what does not come, as where a real server is down here only, is asked for less and less often
        self._pause = max(REPAIR if not lacking else min(2 * self._pause, LONGEST), _SHARE * (self._pulled - began))
        if self._look is not None:
            self._look = replace(self._look, new=frozenset())  # what came by this way proves nothing
        found = {"group": self._group, "director": self._asked, "connections": len(wanted), "missing": lacking}
        log.info("connections of the active director were taken over", extra=found)
        enough = mirroring.enough(len(wanted), lacking)
        if enough and (self.report is None or self.report.state in (MirrorState.ALONE, MirrorState.UNKNOWN)):
            self._measured = self.report = mirroring.report(self._asked, len(wanted), lacking, EVERY)
        return enough

    async def _pull(
        self, view: View, take: Take, own: set[int], receiver: SyncDaemon
    ) -> tuple[set[int], int, set[int]]:
        """Hand on what is not in ``own``; returns the keys of what should be there then, how many were handed on, and
        the keys of those that are templates."""
        wanted, injected, templates = set[int](), 0, set[int]()
        async with aclosing(self._ask(view, None)) as parts:
            async for part in parts:
                keys, lacking = await asyncio.to_thread(self._take_over, part, take, own, receiver)
                wanted |= keys
                injected += len(lacking)
                templates.update(key for key, one in lacking.items() if one.template)
        return wanted, injected, templates

    def _take_over(
        self, part: list[str], take: Take, own: set[int], receiver: SyncDaemon
    ) -> tuple[set[int], dict[int, Connection]]:
        found = connections.keys(part)
        missing = ((key, take(key, one)) for key, one in found.items() if key not in own)
        lacking = {key: taken for key, taken in missing if taken is not None}
        if lacking:
            self._hands.inject(list(lacking.values()), receiver)
        return _counted(found), lacking

    async def _compare(self, view: View) -> None:
        """Compare a sample of the active director's connections with the own table."""
        theirs, started = set[int](), self._clock()
        async with aclosing(self._ask(view, SAMPLE)) as parts:
            async for part in parts:
                theirs |= _counted(await asyncio.to_thread(connections.keys, part))
        own = await self._own()
        now, before = self._clock(), self._look
        self._look = seen = mirroring.look(frozenset(theirs), own, before)
        interval, self._looked = started - self._looked, started
        self._next_look = now + max(SOON if before is None else EVERY, _SHARE * (now - started))
        if before is None:
            return
        self.figures = Figures(len(theirs), len(seen.overdue), interval)
        self._tell(mirroring.report(self._asked, len(theirs), len(seen.overdue), interval, seen.hears_nothing))
        if seen.hears_nothing and (self._restarted is None or now - self._restarted >= RESTART):
            log.warning("mirrored connections do not come here", extra={"group": self._group, "looks": seen.deaf})
            self.deaf, self._restarted = True, now
        elif seen.overdue and self._is_told() and now - self._pulled >= self._pause:
            self._again = True  # one that is idle would never be sent again

    def _start_again(self, receiver: SyncDaemon | None, now: float) -> None:
        """Wait until the receiver is gone, so that another one is started; one that is not ours never goes."""
        if receiver is None or self._restarted is None or now - self._restarted >= PATIENCE:
            self.deaf, self._again, self._look = False, True, None

    def _is_told(self) -> bool:
        """Tell whether people know what was measured: a mirror that does not work is not to be mended in secret."""
        return self.report is not None and self._measured is not None and self.report.state is self._measured.state

    def _tell(self, report: MirrorReport) -> None:
        self.report = mirroring.steady(self.report, self._measured, report)
        self._measured = report

    async def _own(self) -> set[int]:
        found: set[int] = set()
        async for part in slices(self._hands.lines()):
            found.update(map(connections.key, part))
        return found

    async def _ask(self, view: View, first: int | None) -> AsyncGenerator[list[str], None]:
        """Yield the active director's connections; it is the first that says it is active."""
        why = ""
        for name, addresses in self._candidates(view):
            try:
                async with aclosing(self._peers.ask(addresses, self._group, first)) as parts:
                    async for part in parts:
                        self._asked, self._told_at = name, self._clock()
                        yield part
                self._asked = name
                return
            except PeerError as error:
                why = why or f"{name} cannot be asked: {error}"
        raise PeerError(why or "no other director of the group is known")

    def _candidates(self, view: View) -> list[tuple[str, tuple[IPAddress, ...]]]:
        """Return the other directors; first the one whose advertisements are heard."""
        group = view.world.groups[self._group]
        assert group.spec is not None
        heard = self._hearing.heard(group.spec.vrrp.router_id)
        source = heard.source if heard is not None else None
        found = vrrp.peers(view.world, group, self._node)
        return sorted(found.items(), key=lambda one: (source not in one[1], one[0] != group.active))


def _ended(take: Callable[[Connection], Connection | None], ending: frozenset[int]) -> Take:
    """Return what takes templates of these keys for a moment only: the same client's, which may send it elsewhere, ends
    with them."""

    def ended(key: int, one: Connection) -> Connection | None:
        taken = take(one)
        return taken._replace(expires=1) if taken is not None and key in ending else taken

    return ended


def _counted(found: Mapping[int, Connection]) -> set[int]:
    return {key for key, one in found.items() if mirroring.counts(one)}
