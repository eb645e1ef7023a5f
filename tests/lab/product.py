"""The product's own processes in the lab: the controller on the machine; in the nodes their agents, and keepalived.

Controller and agents have credentials of their own, of the service accounts that the chart grants their rights to.
"""

import sys
from pathlib import Path
from signal import SIGTERM
from typing import Protocol

from lab.apiserver import ApiServer
from lab.chart import NAMESPACE
from lab.console import LabError
from lab.guest import CHECKOUT
from lab.hosts import Host, Process
from lab.processes import Daemon

PROGRAM = [sys.executable, "-m", "virtualserver"]


class Program(Protocol):
    """What controller and agents have in common."""

    @property
    def name(self) -> str: ...
    @property
    def log(self) -> Path: ...
    @property
    def prepared(self) -> bool: ...
    @property
    def running(self) -> bool: ...


class Controller:
    """`stop` and `start` as often as a test likes; the log is one file across restarts."""

    name: str = "controller"

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address
        self.daemon = Daemon.noted("controller", folder)
        self.kubeconfig = folder / "credentials" / "controller.kubeconfig"

    @property
    def log(self) -> Path:
        return self.folder / "logs" / "controller.log"

    @property
    def running(self) -> bool:
        return self.daemon is not None and self.daemon.alive

    @property
    def prepared(self) -> bool:
        """It has credentials, so it is meant to run."""
        return self.kubeconfig.exists()

    def prepare(self, api: ApiServer) -> None:
        api.account_kubeconfig(self.kubeconfig, NAMESPACE, "virtualserver-controller")

    def start(self) -> None:
        if self.running:
            return
        env = {
            "KUBECONFIG": str(self.kubeconfig),
            "HEALTH_ADDRESS": self.address,  # several labs share the machine's root namespace
            "PYTHONPATH": str(CHECKOUT / "operator"),
            "PYTHONUNBUFFERED": "1",
        }
        self.daemon = Daemon.start("controller", [*PROGRAM, "controller"], self.folder, env=env)

    def stop(self, number: int = SIGTERM) -> None:
        if self.daemon is not None:
            self.daemon.stop(number)


class OnNode:
    """A program of a node's pod; `stop` with SIGKILL is its crash, `signal` with SIGSTOP its freezing."""

    kind: str
    command: str

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.node = host.name
        self.folder = folder
        self.run_dir = f"/run/{host.name}/virtualserver"  # in the guest's memory: sockets and locks are its kernel's
        self.kubeconfig = folder / "credentials" / f"agent-{host.name}.kubeconfig"

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.node}"

    @property
    def log(self) -> Path:
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def process(self) -> Process | None:
        """What runs now, also when another command started it.

        Asked by name each time: a guest that was booted again gives the numbers of its former processes to others.
        """
        found = [process for process in self.host.processes() if process.name == self.name]
        return found[-1] if found else None

    @property
    def running(self) -> bool:
        try:
            return self.process is not None
        except LabError:  # its guest is dead
            return False

    @property
    def prepared(self) -> bool:
        """The node's agent has credentials, so the pod is meant to run."""
        return self.kubeconfig.exists()

    def environment(self) -> dict[str, str]:
        return {"RUN_DIR": self.run_dir}

    def start(self) -> None:
        if not self.running:
            self.host.spawn([*PROGRAM, self.command], self.name, env=self.environment())

    def signal(self, number: int) -> None:
        if process := self.process:
            process.signal(number)

    def stop(self, number: int = SIGTERM, grace: float = 15) -> None:
        """Send the signal and wait until the process is gone."""
        if (process := self.process) is None:
            return
        process.signal(number)
        if process.wait(grace) is None:
            raise LabError(f"{self.name} does not end {grace:g} s after signal {number}; see {self.log}")


class Agent(OnNode):
    """One node's agent."""

    kind = command = "agent"

    def __init__(self, host: Host, folder: Path) -> None:
        super().__init__(host, folder)
        self.state = folder / "state" / host.name

    def prepare(self, api: ApiServer) -> None:
        """Credentials bound to the Node, as the token of a pod on that node would be."""
        api.account_kubeconfig(self.kubeconfig, NAMESPACE, "virtualserver-agent", node=self.node)
        self.state.mkdir(parents=True, exist_ok=True)

    def environment(self) -> dict[str, str]:
        told = {"KUBECONFIG": str(self.kubeconfig), "NODE_NAME": self.node, "STATE_DIR": str(self.state)}
        return super().environment() | told


class Keepalived(OnNode):
    """One director's keepalived with its supervisor, the agent's sidecar."""

    kind = command = "keepalived"

    def kill(self, which: str) -> None:
        """`kill -9` of `keepalived` (the first process) or `vrrp` (its child); the supervisor stays."""
        self.host.run(f"kill -9 $(cat {self.run_dir}/{which}.pid)")


def exists() -> bool:
    return (CHECKOUT / "operator" / "virtualserver" / "__main__.py").exists()
