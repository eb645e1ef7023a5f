"""What of another director's connections this one takes over, and how well connections are mirrored; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from ipaddress import IPv4Address

from virtualserver.api.enums import MirrorState
from virtualserver.api.failover import MirrorReport
from virtualserver.model.connections import ESTABLISHED, Connection
from virtualserver.model.types import (
    DestinationContent,
    DestinationKey,
    ForwardingMethod,
    Protocol,
    Service,
    ServiceContent,
    ServiceKey,
)

TICK = ServiceKey(Protocol.TCP, IPv4Address("127.118.115.0"), 9)
"""A virtual service of our own, for nobody: connections to it push those of clients out to the other directors.

Beside the tokens (``model.failover.token``), of a router id that does not exist; port 9 is "discard" (RFC 863).
"""
TICK_SERVICE = Service(
    ServiceContent("rr", persistence_prefix=32),
    {DestinationKey(IPv4Address("127.0.0.1"), TICK.port): DestinationContent(1, ForwardingMethod.DIRECT_ROUTING)},
)
MESSAGE = 1
"""Bytes that a sender collects before it sends: with fewer than an entry has, each entry goes as the next one comes."""

ENOUGH = 0.999
"""Share of the active director's connections with which a director that returns may stand by."""

IN_STEP = 0.99
DEAF_AFTER = 3
"""Looks in a row, in each of which none of the connections that had begun came."""

_STEPS = ((1.0, "100%"), (0.99, ">=99%"), (0.95, ">=95%"))
_LAGS = (10, 60, 600)
_LIVE = frozenset((ESTABLISHED, "FIN_WAIT", "CLOSE_WAIT", "UDP"))
"""States in which a connection is still used, and which a sender mirrors (``ip_vs_sync.c``: none of a handshake)."""
_ENDING, _ENDING_TEMPLATE = 15, 60
"""Seconds before its end in which an entry may have ended elsewhere: a mirrored one is not renewed by every packet, a
template not by the connections that use it."""


def taker(services: Mapping[ServiceKey, Service]) -> Callable[[Connection], Connection | None]:
    """Return what says how another director's connection is taken over here, None when it is not.

    Its virtual service and its real server must be programmed here, too: the kernel would take any others as well, and
    send packets to hosts that are in no pool, and by NAT. Templates get the whole persistence timeout: the kernel
    knows it only of those that it makes itself.
    """
    known = {
        (key.protocol, key.address, key.port): (
            {(one.address, one.port) for one in service.destinations},
            service.content.persistence_timeout,
        )
        for key, service in services.items()
        if key != TICK
    }

    def take(one: Connection) -> Connection | None:
        found = known.get((one.protocol, one.virtual, one.virtual_port)) or known.get((one.protocol, one.virtual, 0))
        if found is None:
            return None
        servers, timeout = found
        if (one.server, one.server_port) not in servers and (one.server, 0) not in servers:
            return None
        if not one.template:
            return one
        return one._replace(expires=timeout) if timeout else None

    return take


def enough(total: int, lacking: int) -> bool:
    """Return whether a director may stand by that lacks so many of the active one's connections."""
    return lacking <= (1 - ENOUGH) * total


def counts(one: Connection) -> bool:
    """Return whether a standby must have a connection: it is in use, was mirrored, and does not end in a moment."""
    return one.expires > _ENDING_TEMPLATE if one.template else one.state in _LIVE and one.expires > _ENDING


@dataclass(frozen=True, slots=True)
class Look:
    """A comparison of a sample of the active director's connections with the own table, by keys.

    ``new`` are those that had begun since the look before, ``overdue`` those that were missing in both. ``deaf``
    counts looks in a row in which nothing came of what was new in the look before.
    """

    theirs: Set[int] = frozenset()
    missing: Set[int] = frozenset()
    overdue: Set[int] = frozenset()
    new: Set[int] = frozenset()
    deaf: int = 0

    @property
    def hears_nothing(self) -> bool:
        """True when mirrored connections do not come here, though they are sent."""
        return self.deaf >= DEAF_AFTER


def look(theirs: Set[int], own: Set[int], before: Look | None) -> Look:
    """Compare. A connection that is missing once may have begun a moment ago; one that is missing twice is missing."""
    missing = theirs - own
    if before is None:
        return Look(theirs, missing)
    due = before.new & theirs
    came = bool(due - missing)
    deaf = 0 if came else before.deaf + bool(due)
    return Look(theirs, missing, missing & before.missing, theirs - before.theirs, deaf)


def report(active: str, total: int, missing: int, interval: float, hears_nothing: bool = False) -> MirrorReport:
    """Return what was measured, in steps so coarse that it stays the same while all is well.

    ``missing`` of ``total`` connections of the director ``active`` were not here although they had begun
    ``interval`` seconds ago.
    """
    share = 1 - missing / total if total else 1.0
    step = next((text for least, text in _STEPS if share >= least), "<95%")
    age = f"{next((lag for lag in _LAGS if interval <= lag), 3600)}s"
    in_step = share >= IN_STEP and not hears_nothing
    wrong = f"connections of {active} that are older than {age} are missing here"
    if hears_nothing:
        wrong = f"no connection that begins at {active} comes here"
    return MirrorReport(
        state=MirrorState.IN_STEP if in_step else MirrorState.BEHIND,
        share=step,
        lag=f">{age}" if missing else f"<={age}",
        message=None if in_step else wrong,
    )


def alone() -> MirrorReport:
    """Return the report of a director that hears no other one."""
    return MirrorReport(
        state=MirrorState.ALONE, share=None, lag=None, message="no other director is heard that is active"
    )


def unknown(why: str) -> MirrorReport:
    """Return the report of a director that cannot measure."""
    return MirrorReport(state=MirrorState.UNKNOWN, share=None, lag=None, message=why)


def steady(told: MirrorReport | None, before: MirrorReport | None, now: MirrorReport) -> MirrorReport:
    """Return what is to be told: something else only when two looks in a row said it."""
    return now if told is None or now == before else told
