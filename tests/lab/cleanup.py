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

from lab import exclusive, links, processes
from lab.guest import scratch_folder
from lab.network import management

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


def remove_dead(name: str, folder: Path) -> list[str]:
    """Remove what is in the way of that lab and left of labs in other folders that nobody can use any more: the
    folder is gone, or all that ran there was killed. Files in a folder that is there stay, somebody may want to
    read them. Returns what it did, one phrase for each lab.
    """
    said = []
    for lab, other in _in_the_way(name, folder):
        if not other.exists():
            if _is_elsewhere(lab, other):
                continue
            remove(lab, other)
            said.append(f"removed what was left of lab `{lab}` in {other}, which is gone")
        elif not _is_used(lab, other):
            for link in _own_links(lab, other):
                links.remove(link.name)
            shutil.rmtree(scratch_folder(lab), ignore_errors=True)
            said.append(f"removed the links of lab `{lab}` in {other}, which was killed")
    return said


def _in_the_way(name: str, folder: Path) -> list[tuple[str, Path]]:
    """Labs in other folders with the same name or the same management addresses."""
    others = {(link.lab, Path(link.folder)) for link in links.all_labs() if link.folder != str(folder)}
    return sorted(one for one in others if one[0] == name or management(one[0]) == management(name))


def _is_elsewhere(lab: str, folder: Path) -> bool:
    """Its folder is only not to be seen from here: it is that of a container, which has this machine's network."""
    pids = processes.marked(folder)
    if any(Path(f"/proc/{pid}/root{folder}").exists() for pid in pids):
        return True
    return not pids and any(links.is_connected(link.name) for link in _own_links(lab, folder))


def _is_used(lab: str, folder: Path) -> bool:
    """Something runs there, or is being started, or a guest holds its end of a link (in a container, say, whose
    processes are not to be seen from here)."""
    return bool(
        processes.marked(folder)
        or exclusive.holder(folder)
        or any(links.is_connected(link.name) for link in _own_links(lab, folder))
    )


def remove(lab: str, folder: Path) -> list[str]:
    """Remove it all and say what was removed, one phrase for each kind."""
    said = []
    names: Counter[str] = Counter()
    for attempt in range(10):
        pids = sorted({*processes.marked(folder), *links.holders(*(link.name for link in _own_links(lab, folder)))})
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
