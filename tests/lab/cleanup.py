"""Remove every trace of a lab, with or without its notes.

Nothing here trusts state: processes are found by the mark in their environment, links by name and alias, so
it works after a kill -9, a half-written file or a second attempt. Only what belongs to this lab goes.
"""

import errno
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

from lab import links, processes
from lab.guest import scratch_folder

MARKER = ".virtualserver-lab"
"""A file that says: this folder was made by a lab and may be removed with all it holds."""


def traces(lab: str, folder: Path) -> list[str]:
    """What is there of the lab, in words, without touching it; empty when there is none."""
    found = [f"process {processes.command_name(pid)} ({pid})" for pid in processes.marked(folder)]
    found += [f"link {link.name}" for link in _own_links(lab, folder)]
    found += [f"mount {path}" for path in _mounts(folder)]
    found += [str(path) for path in _folders(lab, folder)]
    return found


def foreign_owner(lab: str, folder: Path) -> str | None:
    """The folder of another lab of the same name, if one is up on this machine."""
    others = [link.folder for link in links.present(lab) if link.folder not in ("", str(folder))]
    return others[0] if others else None


def remove_orphans(lab: str, folder: Path) -> None:
    """Remove what is left of labs of that name whose folders are gone: nobody can use them or take them down."""
    for other in {link.folder for link in links.present(lab)} - {"", str(folder)}:
        if not Path(other).exists():
            remove(lab, Path(other))


def remove(lab: str, folder: Path) -> list[str]:
    """Remove it all and say what was removed, one phrase for each kind."""
    said = []
    names: Counter[str] = Counter()
    for attempt in range(10):
        pids = processes.marked(folder)
        if not pids and attempt:
            break
        names.update(processes.command_name(pid) for pid in pids)
        processes.kill_all(pids)
        time.sleep(0.05)  # a process that was just being started carries no mark yet: look again
    if names:
        listed = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in names.items())
        said.append(f"ended processes: {listed}")
    if own := _own_links(lab, folder):
        for link in own:
            links.remove(link.name)
        said.append(f"removed links: {', '.join(link.name for link in own)}")
    for point in _mounts(folder):
        subprocess.run(["umount", "-l", point], capture_output=True, check=False)
        said.append(f"unmounted {point}")
    said += [_without(path) for path in _folders(lab, folder)]
    return said


def _without(path: Path) -> str:
    """Remove the folder; one that is a mount point (of a file system in memory, say) can only be emptied."""
    try:
        shutil.rmtree(path)
    except OSError as error:
        if error.errno != errno.EBUSY or any(path.iterdir()):
            raise
        return f"emptied {path}"
    return f"removed {path}"


def _own_links(lab: str, folder: Path) -> list[links.Link]:
    """Also those without an alias: a lab that was killed between making and naming a link."""
    return [link for link in links.present(lab) if link.folder in ("", str(folder))]


def _mounts(folder: Path) -> list[str]:
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [point for point in reversed(points) if point.startswith(f"{folder}/")]


def _folders(lab: str, folder: Path) -> list[Path]:
    """The lab's folder when it carries our marker, and the guests' scratch folder when it is ours."""
    found = [folder] if (folder / MARKER).exists() else []
    owner = scratch_folder(lab) / "owner"
    if scratch_folder(lab).exists() and (not owner.exists() or owner.read_text() in ("", str(folder))):
        found.append(scratch_folder(lab))
    return found
