"""Links of the machine that join guests with each other and with the API server: bridges and taps.

Their names begin with `vs-<lab>-` and their alias is the lab's folder: so a lab finds its own again without
notes, and never takes away those of another checkout.
"""

import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.console import LabError
from lab.network import Segment

TUN = Path("/dev/net/tun")


@dataclass(frozen=True)
class Link:
    name: str
    folder: str

    @property
    def lab(self) -> str:
        return self.name.split("-")[1]


def prefix(lab: str) -> str:
    return f"vs-{lab}-" if lab else "vs-"


def all_labs() -> list[Link]:
    """A link of every lab on this machine that says which folder it belongs to."""
    return [link for link in present("") if link.name.count("-") == 2 and link.folder.startswith("/")]


def present(lab: str) -> list[Link]:
    """All links with the lab's prefix, whoever made them; "" is every lab."""
    shown = json.loads(_ip("-json", "link", "show") or "[]")
    return [Link(link["ifname"], link.get("ifalias", "")) for link in shown if link["ifname"].startswith(prefix(lab))]


def refuse_conflicts(lab: str, segment: Segment) -> None:
    """Before anything is made: the management addresses must be free on this machine."""
    for link in json.loads(_ip("-json", "-4", "address", "show") or "[]"):
        for address in link.get("addr_info", []):
            if str(address.get("local", "")).startswith(f"{segment.ipv4}."):
                raise LabError(
                    f"link {link['ifname']} already has an address in {segment.ipv4}.0/24, which lab `{lab}` needs;"
                    " choose another --name or remove that link"
                )


def exists(name: str) -> bool:
    return Path(f"/sys/class/net/{name}").exists()


def is_connected(name: str) -> bool:
    """It is a tap, and a program holds the other end of it."""
    link = Path(f"/sys/class/net/{name}")
    with suppress(OSError):  # gone, or not up
        return (link / "tun_flags").exists() and (link / "carrier").read_text().strip() == "1"
    return False


def holders(*names: str) -> dict[int, str]:
    """The processes that hold the other end of these taps, and of which (``/proc/PID/fdinfo``: ``iff``)."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            for descriptor in (entry / "fd").iterdir():
                with suppress(OSError):
                    if descriptor.readlink() == TUN and (name := _tap(entry / "fdinfo" / descriptor.name)) in names:
                        found[int(entry.name)] = name
    return found


def _tap(fdinfo: Path) -> str:
    lines = (line.partition(":") for line in fdinfo.read_text().splitlines())
    return next((value.strip() for field, _, value in lines if field == "iff"), "")


def add_bridge(name: str, folder: Path, address: str | None = None) -> None:
    _ip("link", "add", name, "type", "bridge", "mcast_snooping", "0")
    _finish(name, folder)
    if address:
        _ip("address", "add", address, "dev", name)


def add_tap(name: str, bridge: str, folder: Path) -> None:
    """Raises LabError, which names the processes that hold a tap of that name already."""
    try:
        _ip("tuntap", "add", "dev", name, "mode", "tap")
    except LabError as error:
        raise LabError(f"{error}; held by processes: {sorted(holders(name)) or 'none'}") from error
    _finish(name, folder)
    _ip("link", "set", name, "master", bridge)


def remove(name: str) -> None:
    """Gone is gone: a link that vanished meanwhile (with its guest) is not an error."""
    subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)


def _finish(name: str, folder: Path) -> None:
    """No IPv6 of the machine's own on it, no offload: guests drop large frames that were never cut."""
    _ip("link", "set", name, "alias", str(folder))
    Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    offloads = [word for kind in ("tx", "tso", "gso", "sg", "gro") for word in (kind, "off")]
    subprocess.run(["ethtool", "-K", name, *offloads], capture_output=True, check=False)
    _ip("link", "set", name, "up")


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        raise LabError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
