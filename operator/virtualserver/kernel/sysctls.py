"""Kernel settings by their dotted names, read and written below ``/proc/sys``."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from virtualserver.kernel.port import KernelError
from virtualserver.kernel.refusals import RefusedError

_SWAP = str.maketrans("./", "/.")
_LONGEST = 4096
"""Bytes of a value: the kernel shows a page at most (``proc_sysctl.c``)."""
_REMEMBERED = 4096
"""Paths of names that are kept: making one takes longer than reading it."""


class Sysctls:
    """Settings as files; a name that has a dot in one of its parts writes it as a slash (``conf.eth0/100``)."""

    def __init__(self, root: Path = Path("/proc/sys")) -> None:
        self._root = root
        self._paths: dict[str, Path] = {}

    def read(self, names: Iterable[str]) -> dict[str, str]:
        """Return the values, words parted by one space; names that do not exist are left out. Raises KernelError.

        A part that is ``*`` stands for all that are there.
        """
        values: dict[str, str] = {}
        for name in names:
            try:
                for one in self._existing(name):
                    if (value := _value(self._path(one))) is not None:
                        values[one] = value
            except RefusedError as refused:
                raise KernelError(f"cannot read {name}: {refused}") from refused
            except OSError as error:
                raise KernelError(f"cannot read {name}: {error.strerror}") from error
        return values

    def _existing(self, name: str) -> list[str]:
        head, star, tail = name.partition(".*.")
        if not star:
            return [name]
        folder = self._path(head)
        parts = sorted(entry.name.replace(".", "/") for entry in folder.iterdir()) if folder.exists() else []
        return [f"{head}.{part}.{tail}" for part in parts]

    def write(self, name: str, value: str) -> None:
        """Write a value; raises RefusedError with the kernel's errno (ENOENT, EINVAL, EROFS ...)."""
        try:
            with self._path(name).open("r+b", buffering=0) as file:  # r+: never creates a file
                file.write(value.encode() + b"\n")
        except OSError as error:
            raise RefusedError(error.errno or errno.EIO) from error

    def _path(self, name: str) -> Path:
        if (known := self._paths.get(name)) is not None:
            return known
        parts = name.translate(_SWAP).split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise RefusedError(errno.EINVAL, f"{name!r} is no name of a setting")
        if len(self._paths) >= _REMEMBERED:  # links come and go
            self._paths.clear()
        return self._paths.setdefault(name, self._root.joinpath(*parts))


def _value(path: Path) -> str | None:
    """Return what a file says, None when there is none.

    Without the layers of ``open``: dozens are read at every look at the kernel, and were more than half of its cost.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return " ".join(os.read(file, _LONGEST).decode().split())
        finally:
            os.close(file)
    except FileNotFoundError:  # also when its link goes between the two calls
        return None
