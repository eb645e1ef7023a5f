"""Tells keepalived of this node's virtual routers and which of them it may be active for; reads both back.

That a node *is* active is read elsewhere, from the kernel: it holds the group's token (``model.failover``).
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from virtualserver.kernel.keepalived import ALLOWED, FORBIDDEN, check_instances, render
from virtualserver.kernel.port import KernelError
from virtualserver.kernel.refusals import RefusedError
from virtualserver.kernel.rundir import RunDir, dump, write_whole
from virtualserver.model.failover import Instance

_Seen = tuple[tuple[int, int, int], ...]
"""Which files were read: inode, time of change, size."""


class Elections(NamedTuple):
    """Virtual routers by group, the groups whose addresses this node may hold, and whether keepalived runs."""

    instances: Mapping[str, Instance] = MappingProxyType({})
    eligible: frozenset[str] = frozenset()
    running: bool = False


class Vrrp:
    """The agent's end of the directory; ``vrrp`` (the package) is the other. Not for several threads at once."""

    def __init__(self, run_dir: Path) -> None:
        self._dir = RunDir(run_dir)
        self._seen: _Seen = ()
        self._instances: dict[str, Instance] = {}

    def read(self) -> Elections:
        """Return what keepalived is told; raises KernelError.

        There are no instances unless what keepalived is told says the same; and none may be held while it does not run.
        """
        try:
            instances, running = self._read(), self._dir.runs()
            allowed = [group for group in instances if self._dir.allowed(group)]
        except OSError as error:
            raise KernelError(f"cannot read {error.filename or self._dir.path}: {error.strerror}") from error
        return Elections(dict(instances), frozenset(allowed if running else ()), running)

    def configure(self, instances: Iterable[Instance]) -> None:
        """Make these the virtual routers of this node. A new one may not be active yet; raises RefusedError."""
        wanted = tuple(instances)
        check_instances(wanted)
        try:
            for group in {one.group for one in wanted} ^ self._told():  # those that go yield while they are known
                self._dir.write_eligible(group, FORBIDDEN)
            write_whole(self._dir.instances, dump(wanted))
            write_whole(self._dir.configuration, render(wanted, self._dir.path))
            self._dir.poke()
        except OSError as error:
            raise _refused(error) from error

    def allow(self, group: str) -> None:
        """Let this node hold a group's addresses; raises RefusedError."""
        try:
            if group not in self._read():
                raise RefusedError(errno.ENOENT)
            if not self._dir.runs():
                raise RefusedError(errno.ESRCH)
            self._dir.write_eligible(group, ALLOWED)
        except OSError as error:
            raise _refused(error) from error

    def forbid(self, group: str) -> None:
        """Let this node hold none of a group's addresses; raises RefusedError."""
        try:
            if self._dir.eligible(group).exists():
                self._dir.write_eligible(group, FORBIDDEN)
        except OSError as error:
            raise _refused(error) from error

    def _read(self) -> dict[str, Instance]:
        """Read thousands of addresses only when a file has changed: this is asked several times a second."""
        seen = self._look()
        if seen != self._seen:
            self._instances = self._load()
            self._seen = seen
        return self._instances

    def _told(self) -> set[str]:
        """Return the groups of the last ``configure``, also when it was cut short or keepalived's file was changed."""
        try:
            return {one.group for one in self._dir.load()}
        except ValueError:
            return set()

    def _load(self) -> dict[str, Instance]:
        try:
            instances = self._dir.load()
            written = self._dir.configuration.read_text(encoding="utf-8")
        except (FileNotFoundError, ValueError):  # never written, or spoilt: to be written
            return {}
        return {one.group: one for one in instances} if written == render(instances, self._dir.path) else {}

    def _look(self) -> _Seen:
        try:
            found = [path.stat() for path in (self._dir.instances, self._dir.configuration)]
        except FileNotFoundError:
            return ((0, 0, 0),)
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)


def _refused(error: OSError) -> RefusedError:
    return RefusedError(error.errno or errno.EIO, f"cannot write {error.filename}: {error.strerror}")
