"""The lab as a whole: management bridge, API server, guests with hosts, real servers, controller and agents.

    lab = Lab("lab", folder); lab.up(); lab.host("client").run("curl -s http://198.18.0.100/"); lab.down()

A `Lab` made for a folder where one is up already is a handle on that one.
"""

import compileall
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab import assets, chart, cleanup, links, network, nodes, packages, product, room
from lab.apiserver import ApiServer
from lab.artifacts import collect
from lab.console import LabError, Steps, wait_until
from lab.exclusive import exclusive
from lab.guest import CHECKOUT, HERE, Guest, install_helpers, refuse_odd_paths
from lab.hosts import Host
from lab.interrupts import uninterrupted
from lab.kernels import OWN, Kernel

API_PORT = 6443
CHART = CHECKOUT / "helm" / "virtualserver"
MANIFESTS = Path(__file__).parent / "manifests"
NEEDED_BYTES = 500 * 2**20


class Lab:
    """A lab by name and folder; see README.md for what its parts can do."""

    def __init__(self, name: str = "lab", folder: Path | None = None, topology: str = "one", quiet: bool = False):
        if not re.fullmatch(r"[a-z0-9]{1,8}", name):
            raise LabError(f"a lab's name is 1 to 8 letters and digits, because links are named by it: {name!r}")
        self.name = name
        self.folder = (folder or CHECKOUT / (".lab" if name == "lab" else f".lab-{name}")).resolve()
        if topology not in network.TOPOLOGIES:
            raise LabError(f"unknown topology {topology!r}; there are: {', '.join(network.TOPOLOGIES)}")
        self._wanted = topology
        self.steps = Steps(quiet)
        self._build()

    def _build(self) -> None:
        """The parts; those that run already are found again by their notes."""
        noted = self._noted().get("topology")
        self.topology = noted if isinstance(noted, str) and noted in network.TOPOLOGIES else self._wanted
        self.mgmt = network.management(self.name)
        self.api = ApiServer(self.folder / "api", f"{self.mgmt.ipv4}.1", API_PORT, base=self.folder)
        self.guests = {
            letter: Guest(self.name, letter, hosts, self.folder, memory=1024 if letter == "a" else 512)
            for letter, hosts in network.TOPOLOGIES[self.topology].items()
        }
        self.controller = product.Controller(self.folder, self.api.address)
        self.agents = {name: product.Agent(self.host(name), self.folder) for name in network.NODES}
        self.keepalived = {name: product.Keepalived(self.host(name), self.folder) for name in network.DIRECTORS}

    # -- use --------------------------------------------------------------------------------------------------

    @property
    def guest(self) -> Host:
        """The root namespace of the first guest: for tests that make namespaces of their own."""
        return self.guests["a"].host()

    def guest_of(self, host: str) -> Guest:
        for guest in self.guests.values():
            if host in guest.hosts:
                return guest
        known = [name for guest in self.guests.values() for name in guest.hosts]
        raise LabError(f"no host `{host}`; there are: {', '.join(sorted(known))}")

    def host(self, name: str) -> Host:
        return self.guest_of(name).host(name)

    def kubectl(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002 - as subprocess.run calls it
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        return self.api.kubectl(*arguments, input=input, check=check)

    def crash(self, host: str) -> None:
        """The machine of that host dies as if its power were cut; only where it has a guest of its own."""
        guest = self.guest_of(host)
        if guest.hosts != [host]:
            raise LabError(f"{host} shares a guest with {len(guest.hosts) - 1} other hosts: use topology `three`")
        guest.crash()

    def boot(self, host: str, product: bool = True, kernel: Kernel = OWN) -> None:
        """Switch a crashed machine on again; its agent and keepalived start as its pod would, unless told not to."""
        guest = self.guest_of(host)
        guest.launch(self._bridges(), kernel)
        guest.wait_ready()
        for program in self._on_nodes():
            if product and program.node == host and program.prepared:
                program.start()

    def artifacts(self, folder: Path) -> None:
        """Everything that helps to understand a failure: logs, kernel tables of every host, API objects."""
        collect(self, folder)

    def parts(self) -> dict[str, bool]:
        """Everything that should run, by name, and whether it does."""
        daemons = {"etcd": self.api.etcd, "kube-apiserver": self.api.server}
        alive = {name: daemon is not None and daemon.alive for name, daemon in daemons.items()}
        alive |= {guest.name: guest.alive for guest in self.guests.values()}
        return alive | {program.name: self._runs(program) for program in self._programs() if program.prepared}

    def _runs(self, program: product.Program) -> bool:
        """A dead guest is not asked for its programs: that takes seconds."""
        alone = isinstance(program, product.OnNode) and not self.guest_of(program.node).alive
        return not alone and program.running

    def dead_parts(self) -> list[str]:
        return [name for name, alive in self.parts().items() if not alive]

    def command(self, verb: str) -> str:
        """What a person types to do that with this lab."""
        if self.folder == CHECKOUT / ".lab" and self.name == "lab":
            return "make lab" if verb == "up" else f"make lab-{verb}"
        return f"PYTHONPATH={CHECKOUT / 'tests'} python3 -m lab {verb} --name {self.name} --folder {self.folder}"

    @property
    def is_up(self) -> bool:
        return self._noted().get("phase") == "up"

    # -- up and down ------------------------------------------------------------------------------------------

    def up(self, replace: bool = False) -> bool:
        """Bring all of it up; whatever interrupts it, what was made is removed again. `replace` removes an
        earlier one first; without it, one that is up is left alone and the answer is False."""
        refuse_odd_paths(self.folder)
        if os.geteuid() != 0:
            raise LabError("the lab makes network links and boots a kernel: it needs root")
        packages.require()
        with exclusive(self.folder):
            if replace:
                cleanup.remove(self.name, self.folder)
            self._build()
            if self.is_up:  # another command was quicker
                return False
            for done in cleanup.remove_dead(self.name, self.folder):
                self.steps.note("lab", done)
            self._refuse_conflicts()
            assets.find_all()
            self._up_or_nothing()
            return True

    def down(self, insist: bool = False) -> list[str]:
        """Remove every trace; returns what was removed. May be called at any time, any number of times; another
        command that is just bringing the lab up or down is waited for, or with `insist` ended."""
        with exclusive(self.folder, insist=insist):
            return cleanup.remove(self.name, self.folder)

    def __enter__(self) -> Self:
        self.up(replace=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with uninterrupted():
            self.down()

    def _up_or_nothing(self) -> None:
        needed = NEEDED_BYTES + sum(guest.memory * 2**20 for guest in self.guests.values() if guest.pages_to_disk)
        room.require(self.folder, needed)
        try:
            self._up()
        except BaseException as error:
            with uninterrupted():
                places = [self.folder, room.SHARED_MEMORY] if isinstance(error, Exception) else []
                full = room.shortage(places, needed)
                cleanup.remove(self.name, self.folder)
            if full:
                raise LabError(full) from error
            raise

    def _up(self) -> None:
        self._make_folder()
        self._build()
        links.refuse_conflicts(self.name, self.mgmt)
        for letter, bridge in self._bridges().items():
            links.add_bridge(bridge, self.folder, self.mgmt.addresses(1)[0] if letter == self.mgmt.letter else None)
        self.steps.note("network", f"{', '.join(self._bridges().values())}, API server at {self.mgmt.ipv4}.1")
        for guest in self.guests.values():
            guest.launch(self._bridges())
        self.api.launch()
        compileall.compile_dir(str(CHECKOUT / "operator"), quiet=2)
        self.api.wait_ready()
        self.steps.note("API server", f"ready at {self.api.url}")
        for guest in self.guests.values():
            guest.wait_ready()
            self.steps.note(guest.name, f"up with {', '.join(guest.hosts)}")
        self._start_services()
        self._install_product()
        self._note("up")

    def _start_services(self) -> None:
        servers = [host.name for host in network.HOSTS if host.role in ("real-server", "node", "pod")]
        self.host(servers[0]).run("mkdir -p /run/lab")
        for name in servers:
            command = [sys.executable, "-S", "-E", str(HERE / "services.py"), name, f"/run/lab/{name}.sock"]
            self.host(name).spawn(command, f"services-{name}")
        self.steps.note("real servers", f"{', '.join(servers)} start web (80), web-alt (8080), echo (7)")

    def _install_product(self) -> None:
        nodes.create(self.api, self.mgmt)
        self.steps.note("nodes", ", ".join(network.NODES))
        if not (CHART / "Chart.yaml").exists():
            self.steps.note("chart", f"skipped, {CHART} is not there")
            return
        applied = chart.apply(self.api, CHART, self.folder)
        self.steps.note("chart", f"applied {len(applied)} documents: custom resources, accounts, rights")
        if product.exists():
            self._start_product()
        else:
            self.steps.note("controller and agents", "skipped, `python -m virtualserver` is not there")
        group = MANIFESTS / "directorgroup.yaml"
        if group.exists() and any("directorgroups" in document for document in applied):
            self.kubectl("apply", "--server-side", "-f", str(group))
            self.steps.note("directors", f"applied {group.name}")
        self._settle()

    def _programs(self) -> list[product.Program]:
        return [self.controller, *self._on_nodes()]

    def _on_nodes(self) -> list[product.OnNode]:
        return [*self.agents.values(), *self.keepalived.values()]

    def _start_product(self) -> None:
        self.controller.prepare(self.api)
        self.controller.start()
        for agent in self.agents.values():
            agent.prepare(self.api)
        for program in self._on_nodes():
            program.start()
        count = f"{len(self.agents)} agents and {len(self.keepalived)} keepalived"
        self.steps.note("product", f"controller, {count} started; a busy machine takes a while to load them")

    def _settle(self, seconds: float = 180) -> None:
        """Starting a program is quick, importing it is not: wait until directors hold their addresses, or some died."""
        waiting = [program for program in self._programs() if program.prepared]
        for _ in wait_until(seconds):
            for program in [one for one in waiting if one.log.exists() and one.log.stat().st_size]:
                waiting.remove(program)
                self.steps.note(program.name, "begins its work")
            if not waiting and (self._active() or self.dead_parts()):
                self.steps.note("directors", f"{self._active() or 'none'} is active")
                return
        for program in waiting:
            self.steps.note(program.name, f"has said nothing in {seconds:g} s; see {program.log}")

    def _active(self) -> str:
        """The director that is active for the lab's own group."""
        path = "jsonpath={.status.activeDirector}"
        return self.kubectl("get", "directorgroup", "default", "-o", path, check=False).stdout.strip()

    def _bridges(self) -> dict[str, str]:
        """Bridges of the machine by segment letter; the data segments need one only between guests."""
        letters = network.CABLES if len(self.guests) > 1 else network.CABLES[:1]
        return {letter: f"{links.prefix(self.name)}{'br' if letter == 'm' else letter}" for letter in letters}

    def _refuse_conflicts(self) -> None:
        if other := cleanup.foreign_owner(self.name, self.folder):
            end = Lab(self.name, Path(other)).command("down")
            raise LabError(f"a lab named `{self.name}` is up already, in {other}; use another --name or run: {end}")
        if found := cleanup.traces(self.name, self.folder):
            shown = ", ".join(found[:4])
            raise LabError(f"the lab in {self.folder} is only half there ({shown}); run: {self.command('down')}")
        if self.folder.exists() and any(self.folder.iterdir()):
            raise LabError(f"{self.folder} exists and was not made by a lab; give another --folder")

    def _make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / cleanup.MARKER).touch()
        (self.folder / "logs").mkdir()
        install_helpers(self.folder)
        self._note("starting")

    def _note(self, phase: str) -> None:
        """Renamed into place, so that a later command never reads half of it."""
        temporary = self.folder / "state.json.new"
        temporary.write_text(json.dumps({"name": self.name, "topology": self.topology, "phase": phase}, indent=2))
        temporary.rename(self.folder / "state.json")

    def _noted(self) -> dict[str, Any]:
        try:
            noted = json.loads((self.folder / "state.json").read_text())
            return noted if isinstance(noted, dict) else {}
        except (OSError, ValueError):
            return {}
