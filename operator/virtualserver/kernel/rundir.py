"""The directory that the agent shares with keepalived and its supervisor: names, formats, how they find each other.

    instances.json    what the agent wants, as it wrote it     keepalived.conf   the same for keepalived
    eligible/GROUP    may this node hold the group's addresses (a track file of keepalived)
    reload            a pipe: each byte tells the supervisor that there is something new
    keepalived.lock   locked by the supervisor while keepalived runs

Light: the supervisor imports it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import struct
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from virtualserver.kernel.keepalived import ALLOWED, FORBIDDEN, track_file
from virtualserver.model.addresses import LinkAddress
from virtualserver.model.failover import Instance

_FLOCK = struct.Struct("@hhqqi4x")  # struct flock: type, whence, start, length, pid


class RunDir:
    """Its files; methods raise OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.instances = path / "instances.json"
        self.configuration = path / "keepalived.conf"
        self.lock = path / "keepalived.lock"
        self.pipe = path / "reload"

    def eligible(self, group: str) -> Path:
        """Return a group's track file."""
        return track_file(self.path, group)

    def load(self) -> tuple[Instance, ...]:
        """Return the instances as written, none before the first; ValueError when they cannot be understood."""
        try:
            return load(self.instances.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return ()

    def write_eligible(self, group: str, said: bytes) -> None:
        """Say whether a group's addresses may be held. In place: keepalived takes a file that vanishes for a 0."""
        path = self.eligible(group)
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644), "wb", buffering=0) as file:
            file.write(said)

    def forbid_all(self) -> None:
        """Forbid every group that was ever allowed."""
        folder = self.eligible("any").parent
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            self.write_eligible(path.name, FORBIDDEN)

    def allowed(self, group: str) -> bool:
        """Return whether a group's addresses may be held."""
        try:
            return self.eligible(group).read_bytes() == ALLOWED
        except FileNotFoundError:
            return False

    def poke(self) -> None:
        """Tell the supervisor to look; one that does not run will look when it starts."""
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            try:
                pipe = os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nobody reads it
                    return
                raise
            with os.fdopen(pipe, "wb", buffering=0) as file:
                file.write(b"\n")

    def runs(self) -> bool:
        """Return whether keepalived runs: whether somebody holds its lock (asked without taking it)."""
        try:
            with self.lock.open("rb") as file:
                asked = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
                return bool(_FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK)
        except FileNotFoundError:
            return False


def write_whole(path: Path, text: str) -> None:
    """Replace a file so that nobody ever reads half of it; what a power cut takes is written again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def dump(instances: Iterable[Instance]) -> str:
    """Return instances as JSON."""
    return json.dumps({"version": 1, "instances": [_dump(one) for one in instances]}, separators=(",", ":"))


def load(text: str) -> tuple[Instance, ...]:
    """Return the instances of ``dump``'s text; raises ValueError."""
    try:
        return tuple(_load(one) for one in json.loads(text)["instances"])
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"no instances: {error!r}") from error


def _dump(one: Instance) -> dict[str, Any]:
    return {
        "group": one.group,
        "router_id": one.router_id,
        "link": one.link,
        "interval": one.interval,
        "missed": one.missed,
        "priority": one.priority,
        "preempt_delay": one.preempt_delay,
        "links": list(one.links),
        "source": None if one.source is None else str(one.source),
        "peers": [str(peer) for peer in one.peers],
        "version": one.version,
        "addresses": [f"{address.link} {address.address} {address.prefix}" for address in one.addresses],
    }


def _load(value: dict[str, Any]) -> Instance:
    addresses = (line.split() for line in value["addresses"])
    read = {
        "links": tuple(value["links"]),
        "source": None if value["source"] is None else ip_address(value["source"]),
        "peers": tuple(ip_address(peer) for peer in value["peers"]),
        "addresses": tuple(LinkAddress(link, ip_address(host), int(prefix)) for link, host, prefix in addresses),
    }
    return Instance(**{**value, **read})
