"""Sees at once when addresses and links of this node come and go, and hears who else is active for its groups.

For the agent's event loop: nothing here waits. The loop would find out by itself at its next look at the kernel; this
wakes it, and remembers the moments, so that it can be said for how long nobody held a group's addresses.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress

from virtualserver.kernel.advertisements import Arrival, Ear
from virtualserver.kernel.attributes import MalformedMessageError, messages
from virtualserver.kernel.links import IFF_LOWER_UP, IFF_UP, Links, decode_address, decode_link
from virtualserver.kernel.port import KernelError
from virtualserver.model.failover import Heard, Router, token
from virtualserver.model.types import IPAddress

log = logging.getLogger(__name__)

_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_NEW_LINK, _DEL_LINK, _NEW_ADDRESS, _DEL_ADDRESS = 16, 17, 20, 21
_WORKS = IFF_UP | IFF_LOWER_UP
_SO_RCVBUFFORCE = 33
_BUFFER = 4 * 1024 * 1024
"""Bytes: thousands of addresses come at once when this director takes over."""
_ROUTERS: dict[IPAddress, int] = {token(router).address: router for router in range(1, 256)}
_DEAF = 10.0
"""Seconds after its link began to work in which a node that hears nobody may be deaf."""
_OVERLAP = 0.5
"""Two that advertise are not yet two that are active: seconds in which one takes over from the other."""
_PROMPT = 0.3
"""Seconds in which a busy node notes that it has taken over; of longer intervals one and a half."""


class Ownership:
    """``start`` and ``close`` belong to the event loop, as does ``wake``, which is called after each change.

    ``router`` returns the virtual router of this node that has an id, None for one that is none of its: the same id on
    another link is another virtual router, a keepalived of the node's own for the API server's address, say.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        router: Callable[[int], Router | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wake, self._router, self._clock = wake, router, clock
        self._addresses: dict[IPAddress, set[tuple[int, int]]] = {}
        self._links: dict[int, tuple[str, int]] = {}
        self._since: dict[int, float | None] = {}
        self._heard: dict[int, Arrival] = {}
        self._ended: dict[int, float] = {}
        self._working: dict[str, float] = {}
        self._ears: list[Ear] = []
        self._routes: socket.socket | None = None

    # What is known

    def heard(self, router_id: int) -> Heard | None:
        """Return the last advertisement of another director for a virtual router, None when there was none."""
        if router_id not in self._heard:
            return None
        moment, source, _, said = self._heard[router_id]
        since = self._since.get(router_id)
        # before enough are overdue nobody takes over from silence, but only from a lower priority
        soon = min(self._overdue(router_id, -0.5), max(1.5 * said.interval, _PROMPT))
        continues = since is not None and said.priority > 0 and since - moment < soon
        return Heard(moment, source, said.priority, continues)

    def held_since(self, router_id: int) -> float | None:
        """Return when this node last began to hold the token, None when it does not or did before ``start``."""
        return self._since.get(router_id)

    def taken(self, router_id: int) -> bool:
        """Return whether another director is active for a virtual router, and this one is not."""
        heard = self.heard(router_id)
        if heard is None or router_id in self._since or heard.priority == 0:
            return False
        return self._clock() - heard.time < self._overdue(router_id, 0.5)

    def rival(self, router_id: int) -> Heard | None:
        """Return what was last heard of another director that is active although this one is, None when none is."""
        heard = self.heard(router_id)
        if heard is None or router_id not in self._since or heard.priority == 0:
            return None
        since = self._since[router_id]
        beside = since is None or heard.time > since + _OVERLAP
        return heard if beside and self._clock() - heard.time < self._overdue(router_id, 0.5) else None

    def silence(self, router_id: int) -> float | None:
        """Return for how many seconds nobody was active for a virtual router, as heard on its link, this node included.

        None while the link does not work. Where no other one was heard since it does, it may be this node that hears
        nobody: some seconds of that do not count.
        """
        router, found = self._router(router_id), self._heard.get(router_id)
        begun = self._working.get(router.link) if router is not None else None
        if router is None or begun is None:
            return None
        heard = found is not None and found.link == router.link and found.time >= begun
        last = found.time if found is not None and heard else begun + _DEAF
        return max(self._clock() - max(last, self._ended.get(router_id, last)), 0.0)

    def _overdue(self, router_id: int, more: float) -> float:
        """Return the seconds after the last advertisement at which as many are overdue as a standby must miss, plus
        ``more``."""
        router = self._router(router_id)
        return ((router.missed if router is not None else 0) + more) * self._heard[router_id].said.interval

    # The event loop

    def start(self) -> None:
        """Begin to watch and to listen. What cannot be opened is logged and missed: it decides nothing."""
        loop = asyncio.get_running_loop()
        try:
            self._routes = _notifications()
            loop.add_reader(self._routes, self._changed)
            self._look(None)
        except (OSError, KernelError) as error:
            log.warning("changes of addresses are seen late: %s", error)
        for version in (4, 6):
            try:
                ear = Ear(version)
            except OSError as error:
                log.warning("advertisements of other directors by IPv%s are not heard: %s", version, error)
            else:
                self._ears.append(ear)
                loop.add_reader(ear, self._listen, ear)

    def close(self) -> None:
        """Stop watching and listening."""
        loop = asyncio.get_running_loop()
        for one in (*self._ears, self._routes):
            if one is not None:
                loop.remove_reader(one)
                one.close()
        self._ears, self._routes = [], None

    def _listen(self, ear: Ear) -> None:
        with suppress(OSError):
            while (found := ear.hear()) is not None:
                number = found.said.router_id
                router = self._router(number)
                if found.source in self._addresses or router is None or found.link != router.link:
                    continue
                alone = self.rival(number) is None
                self._heard[number] = found
                if alone and self.rival(number) is not None:
                    self._wake()

    def _changed(self) -> None:
        """Take in what the kernel tells, all of it, then wake the loop once."""
        assert self._routes is not None
        news = False
        try:
            while True:
                data = self._routes.recv(65536)
                for kind, _, _, start, end in messages(data):
                    news = self._take(kind, data, start, end) or news
        except BlockingIOError:
            pass
        except (OSError, MalformedMessageError, KeyError, struct.error) as error:
            log.info("changes of addresses were lost, all are read again: %r", error)
            news = self._look_again() or news
        if news:
            self._wake()

    def _take(self, kind: int, data: bytes, start: int, end: int) -> bool:
        """Take in one message; return whether it says anything new."""
        if kind in (_NEW_LINK, _DEL_LINK):
            link = decode_link(data, start, end)
            before = self._links.pop(link.index, None)
            if kind == _NEW_LINK:
                self._links[link.index] = (link.name, link.flags & _WORKS)
            self._note_working()
            return before != self._links.get(link.index)
        found = decode_address(data, start, end) if kind in (_NEW_ADDRESS, _DEL_ADDRESS) else None
        if found is None:
            return False
        index, address, prefix = found
        places = self._addresses.get(address, set())
        if ((index, prefix) in places) is (kind == _NEW_ADDRESS):
            return False
        after = places ^ {(index, prefix)}
        if after:
            self._addresses[address] = after
        else:
            del self._addresses[address]
        self._judge(address, self._clock())
        return not address.is_link_local

    def _judge(self, address: IPAddress, now: float | None) -> None:
        """Note the moment at which a token came; forget it when it went."""
        router = _ROUTERS.get(address)
        if router is None:
            return
        if address in self._addresses:
            self._since.setdefault(router, now)
        elif router in self._since:
            del self._since[router]
            self._ended[router] = self._clock()

    def _note_working(self) -> None:
        """Note the moment from which each link works; forget it when it does not."""
        working = {name for name, flags in self._links.values() if flags == _WORKS}
        self._working = {name: self._working.get(name, self._clock()) for name in working}

    def _look_again(self) -> bool:
        self._working = {}  # one that went down and came back meanwhile looks as before
        try:
            self._look(self._clock())
        except KernelError as error:
            log.warning("changes of addresses are seen late: %s", error)
        return True

    def _look(self, now: float | None) -> None:
        """Read everything: at the start, and when notifications were lost. Raises KernelError."""
        reader = Links()
        try:
            links, addresses = reader.read()
        finally:
            reader.close()
        self._links = {one.index: (one.name, one.flags & _WORKS) for one in links.values()}
        self._note_working()
        self._addresses = {}
        for one in addresses:
            self._addresses.setdefault(one.address, set()).add((links[one.link].index, one.prefix))
        for address in _ROUTERS:
            self._judge(address, now)


def _notifications() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        made.setblocking(False)
        with suppress(PermissionError):
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        made.bind((0, _GROUPS))
    except BaseException:
        made.close()
        raise
    return made
