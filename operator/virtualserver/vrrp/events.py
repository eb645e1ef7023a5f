"""What the supervisor waits for: signals, the agent's word, links that came again."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_RTMGRP_LINK = 1
_STOPPING = (signal.SIGTERM, signal.SIGINT)


class Events:
    """``wait`` returns when something happened; the flags say what, until they are taken back."""

    def __init__(self, pipe: Path) -> None:
        """``pipe`` is made, and removed by ``close``."""
        self.stop = False
        self.told = False
        self.links = False
        self._pipe = pipe
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe, 0o600)
        self._ear = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)  # read and write: it never ends
        self._wake, self._woken = socket.socketpair()
        self._routes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._routes.bind((0, _RTMGRP_LINK))
        for one in (self._wake, self._woken, self._routes):
            one.setblocking(False)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _STOPPING:
            signal.signal(number, self._stop)

    def wait(self, seconds: float | None) -> None:
        """Wait for a signal (a child that ended is one), the agent or a link; or for some seconds."""
        ready = select.select([self._ear, self._wake.fileno(), self._routes.fileno()], [], [], seconds)[0]
        with suppress(BlockingIOError):
            if self._ear in ready:
                self.told = True
                os.read(self._ear, 4096)
        with suppress(OSError):  # ENOBUFS: so many changes that some were lost
            if self._routes.fileno() in ready:
                self.links = True
                while self._routes.recv(65536):
                    pass
        with suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass

    def close(self) -> None:
        """Leave nothing of ours in the directory."""
        self._pipe.unlink(missing_ok=True)

    def _stop(self, *_: object) -> None:
        self.stop = True


def indexes(links: Iterable[str]) -> dict[str, int]:
    """Return the indexes of those links that there are; a link that was made again has another one."""
    found = {}
    for link in links:
        with suppress(OSError):
            found[link] = socket.if_nametoindex(link)
    return found
