"""Room on the disk. A full one shows as anything, a database that ends, a log that stops: so it is asked for before
the lab is made, while it is waited for, and whenever something has failed."""

import shutil
from pathlib import Path

from lab.console import LabError

SHARED_MEMORY = Path("/dev/shm")
"""The guests' memory is here if it fits, and it is a disk that can be full too."""
FULL = 5 * 2**20
"""Bytes; with less than that free, whatever fails may have failed for that."""


def require(folder: Path, needed: int) -> None:
    """LabError unless that many bytes are free where the folder is, or will be."""
    if (free := _free(folder)) < needed:
        raise LabError(f"not enough room for {folder}: {free >> 20} MB are free, {needed >> 20} MB are needed")


def require_some(folder: Path) -> None:
    """LabError when the disk is full."""
    if message := shortage([folder]):
        raise LabError(message)


def shortage(folders: list[Path], needed: int = 0) -> str:
    """Which of these is on a full disk, in words; "" when none is."""
    for folder in folders:
        if (free := _free(folder)) < FULL:
            wanted = f", a lab needs {needed >> 20} MB" if needed else ""
            return f"the disk of {folder} is full: {free >> 20} MB are free{wanted}"
    return ""


def _free(folder: Path) -> int:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free
