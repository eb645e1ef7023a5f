"""A guest: one User-Mode Linux kernel with IPVS, holding some of the lab's hosts as network namespaces.

It shares the machine's file system (read-only) and the lab's folder; it is reached over the management
segment. A guest is one process group on the machine: killing that is the crash of a machine.
"""

import json
import os
import secrets
import shutil
import sys
import time
from pathlib import Path
from signal import SIGKILL

from lab import kernels, links, network, processes, processor, room
from lab.console import LabError, wait_until
from lab.hosts import Door, Host

PORT = 7000
HERE = Path(__file__).parent / "guest"
CHECKOUT = Path(__file__).parents[2]

# Not the tunnel drivers: they would put tunl0, gre0, ... into every namespace; the kernel loads them when asked.
LOAD = [
    "ipv6 nf_conntrack dummy veth bridge",
    "ip_vs ip_vs_rr ip_vs_wrr ip_vs_lc ip_vs_wlc ip_vs_lblc ip_vs_lblcr ip_vs_dh ip_vs_sh ip_vs_mh ip_vs_sed ip_vs_nq",
    "ip_vs_fo ip_vs_ovf ip_vs_pe_sip",
    "iptable_filter iptable_nat iptable_mangle iptable_raw ip6table_filter ip6table_nat ip6table_mangle ip6table_raw",
    "xt_ipvs xt_conntrack xt_MASQUERADE xt_TCPMSS xt_comment xt_mark xt_multiport xt_tcpudp ipt_REJECT sctp",
    "fou",  # for GUE: makes no link, and the kernel does not load it when asked
]


class Guest:
    """`launch` starts it, `wait_ready` waits; `crash` is what it says."""

    def __init__(self, lab: str, letter: str, hosts: list[str], folder: Path, memory: int = 1024) -> None:
        self.lab = lab
        self.letter = letter
        self.hosts = hosts
        self.folder = folder
        self.memory = memory
        self.kernel = kernels.OWN
        self.daemon = processes.Daemon.noted(self.name, folder)
        self.mgmt = network.management(lab)
        self.address = f"{self.mgmt.ipv4}.{network.guest_number(letter)}"
        self.token = self._noted_token() or secrets.token_hex(16)

    @property
    def name(self) -> str:
        return f"guest-{self.letter}"

    @property
    def home(self) -> Path:
        return self.folder / self.name

    @property
    def alive(self) -> bool:
        return self.daemon is not None and self.daemon.alive

    @property
    def pages_to_disk(self) -> bool:
        """Its memory is a file; in RAM when there is room and programs may be mapped from it (much faster)."""
        shared = os.statvfs(room.SHARED_MEMORY)
        fits = shared.f_bavail * shared.f_frsize > self.memory * 2**20
        return not fits or bool(shared.f_flag & os.ST_NOEXEC)

    def host(self, name: str = "") -> Host:
        return Host(name, Door(self.address, PORT, self.token), self.folder / "logs")

    def _noted_token(self) -> str | None:
        """The password that an earlier command gave this guest."""
        try:
            return str(json.loads((self.home / "server.json").read_text())["token"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def tap(self, index: int) -> str:
        """The machine's end of its cable to that segment."""
        return f"{links.prefix(self.lab)}{self.letter}{index}"

    def _taps(self) -> list[str]:
        return [self.tap(index) for index in range(len(network.CABLES))]

    def launch(self, bridges: dict[str, str], kernel: kernels.Kernel = kernels.OWN) -> None:
        """Boot with one network device for each segment in `bridges` (segment letter -> bridge of the machine)."""
        self.kernel = kernel
        self.home.mkdir(parents=True, exist_ok=True)
        devices, uplinks = [], {}
        for index, (segment, bridge) in enumerate(bridges.items()):
            tap = self.tap(index)
            if not links.exists(tap):  # after a crash the cable is still there
                links.add_tap(tap, bridge, self.folder)
            devices.append(f"vec{index}:transport=tap,ifname={tap},depth=128")
            uplinks[segment] = f"vec{index}"
        script = network.build_script(self.letter, self.hosts, self.mgmt, uplinks)
        (self.home / "network.sh").write_text(script)
        self._write_settings()
        memory = {"TMPDIR": str(self.home if self.pages_to_disk else room.SHARED_MEMORY)}
        command = self._command(devices)
        with processor.tied(len(self.hosts)) as known:
            self.daemon = processes.Daemon.start(self.name, command, self.folder, cwd=self.home, env=memory | known)

    def wait_ready(self, seconds: float = 60) -> None:
        door = Door(self.address, PORT, self.token)
        for _ in wait_until(seconds):
            room.require_some(self.folder)
            if self.daemon is None or not self.daemon.alive:
                words = self.daemon.last_words() if self.daemon else "never started"
                raise LabError(f"{self.name} ended while booting; its console:\n  {words}")
            try:
                door.call("ping", 0.5)  # short: while it boots, packets to it vanish
                return
            except LabError:
                continue
        raise LabError(f"{self.name} does not answer after {seconds:.0f} s; see {self.folder}/logs/{self.name}.log")

    def behind(self) -> float:
        """Seconds to add to its clock to get the machine's: of a few questions the one that was answered soonest."""
        found = []
        for _ in range(10):
            asked = time.time()
            there = Door(self.address, PORT, self.token).call("ping", 5)["time"]
            answered = time.time()
            found.append((answered - asked, (asked + answered) / 2 - there))
        return float(min(found)[1])

    def crash(self) -> None:
        """`kill -9` of the whole group, the guest's helper processes included; links stay, as cables would.

        Whatever still has hold of a cable goes as well: the next boot could not use it.
        """
        if self.daemon is not None:
            self.daemon.stop(SIGKILL)
        processes.kill_all({*processes.marked(self.home), *links.holders(*self._taps())})

    def state(self) -> str:
        """For a person who looks at a failure: its process, its cables, and the end of its console."""
        pid = f"process {self.daemon.pid} {'runs' if self.alive else 'is gone'}" if self.daemon else "never started"
        taps = self._taps()
        held = links.holders(*taps)
        cables = [
            f"{tap}: {', '.join(str(pid) for pid, name in held.items() if name == tap) or 'free'}" for tap in taps
        ]
        words = self.daemon.last_words() if self.daemon else ""
        return f"{self.name}: {pid}; cables held by: {'; '.join(cables)}\n  {words}"

    def _command(self, devices: list[str]) -> list[str]:
        scratch = scratch_folder(self.lab)
        scratch.mkdir(exist_ok=True)
        (scratch / "owner").write_text(str(self.folder))
        kernel = ["rootfstype=hostfs", "ro", f"mem={self.memory}M", "con=null", "con0=null,fd:1", "quiet", "panic=1"]
        names = [f"umid={self.name}", f"uml_dir={scratch}/"]
        start = ["init=/bin/sh", "--", str(HERE / "init.sh"), str(self.home / "init.env")]
        return [str(self.kernel.program), *kernel, *names, *devices, *start]

    def _write_settings(self) -> None:
        variables = {
            "LAB_FOLDER": self.folder,
            "LAB_KEEP": "\n".join(map(str, _hidden_folders(self.kernel.modules))),
            "LAB_HOSTNAME": f"{self.lab}-{self.letter}",
            "LAB_MODULES": self.kernel.modules,
            "LAB_LOAD": " ".join(LOAD),
            "LAB_NETWORK": self.home / "network.sh",
            "LAB_PYTHON": sys.executable,
            "LAB_SERVER": HERE / "server.py",
            "LAB_SETTINGS": self.home / "server.json",
        }
        (self.home / "init.env").write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()))
        settings = {"address": self.address, "port": PORT, "token": self.token, "env": environment(self.folder)}
        (self.home / "server.json").touch(mode=0o600)
        (self.home / "server.json").write_text(json.dumps(settings))


def environment(folder: Path) -> dict[str, str]:
    """What commands in a guest find: the project's Python, its sources, our helper programs."""
    interpreter = Path(sys.executable).parent
    return {
        "PATH": f"{folder}/bin:{interpreter}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": f"{CHECKOUT / 'operator'}:{CHECKOUT / 'tests'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        processes.MARK: str(folder),
    }


def install_helpers(folder: Path) -> None:
    """Copy the hosts' helper programs to where the guests look for them."""
    shutil.copytree(HERE / "bin", folder / "bin", dirs_exist_ok=True)


def scratch_folder(lab: str) -> Path:
    """Sockets of the guests' kernels; short, because the path of a socket must be."""
    return room.SHARED_MEMORY / f"vs-{lab}"


def refuse_odd_paths(folder: Path) -> None:
    """These paths travel on a kernel command line, which knows no quoting."""
    for path in (folder, CHECKOUT, Path(sys.executable)):
        if any(character.isspace() or character in "'\",:" for character in str(path)):
            raise LabError(f"the lab cannot work with this path, it has a space, quote, comma or colon: {path}")


def _hidden_folders(*more: Path) -> list[Path]:
    """Folders that the guest needs and that its own /tmp and /run would hide; longest last."""
    wanted = {*more, CHECKOUT, Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).parent}
    own = [Path("/tmp"), Path("/run"), Path("/dev")]
    return sorted(path for path in wanted if any(top in path.parents for top in own))
