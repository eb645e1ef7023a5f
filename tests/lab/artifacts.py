"""What to keep when something went wrong: logs, kernel tables of every host, API objects.

Collecting must never hide the failure it is about: what cannot be had is written down as such.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lab import network
from lab.console import LabError

if TYPE_CHECKING:
    from lab.lab import Lab

COMMANDS = [
    "ipvsadm -Ln",
    "ipvsadm -Ln --stats",
    "ipvsadm -Ln --daemon",
    "ip -d address",
    "ip route show table all",
    "ip -6 route show table all",
    "ip rule; ip -6 rule",
    "ip neigh; ip -6 neigh",
    "iptables-legacy-save; ip6tables-legacy-save",
    "ss -tlnp",
]
KINDS = "nodes,namespaces,services,endpointslices,serviceaccounts,events,leases"


def collect(lab: "Lab", folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(lab.folder / "logs", folder / "logs", dirs_exist_ok=True)
    for host in network.HOSTS:
        (folder / f"{host.name}.txt").write_text(_attempt(_tables, lab, host.name))
    (folder / "objects.yaml").write_text(_attempt(_objects, lab))


def _attempt(gather: Callable[..., str], *arguments: object) -> str:
    try:
        return gather(*arguments)
    except (LabError, OSError) as error:
        return f"could not be collected: {error}\n"


def _tables(lab: "Lab", host: str) -> str:
    """One command for all, because each costs a round trip into the guest."""
    script = "\n".join(f"echo '## {command}'; {{ {command}; }} 2>&1; echo" for command in COMMANDS)
    return lab.host(host).run(script, check=False, timeout=60).out


def _objects(lab: "Lab") -> str:
    listed = lab.kubectl("api-resources", "--api-group=virtualserver.dev", "-o", "name", check=False).stdout.split()
    return lab.kubectl("get", ",".join([KINDS, *listed]), "-A", "-o", "yaml", check=False).stdout
