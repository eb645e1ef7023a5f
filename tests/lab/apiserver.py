"""A real kube-apiserver and its etcd, as plain processes: RBAC, TLS, service account tokens, audit log.

Usable without the rest of the lab: `with ApiServer(folder) as api: api.kubectl("get", "namespaces")`.
No kubelet, scheduler or controller-manager runs: pods stay Pending, a deleted Namespace stays Terminating,
owner references are not collected, EndpointSlices are what you write.
"""

import base64
import json
import secrets
import socket
import urllib.request
from pathlib import Path
from signal import SIGKILL
from types import TracebackType
from typing import Self

from lab import assets, certificates, kubeconfig, room
from lab.apiclient import ApiClient
from lab.console import LabError, wait_until
from lab.processes import Daemon

SERVICE_RANGES = "10.96.0.0/16,fd00:96::/112"
ISSUER = "https://kubernetes.default.svc"

_AUDIT_POLICY = """\
# who wrote what, and everything that touches the project's own API: tests count it
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: Metadata
  resources: [{group: virtualserver.dev}]
- level: None
"""


class ApiServer(ApiClient):
    """`start`, `stop` and `start` again keep data, address, port and credentials: an outage, not a new cluster."""

    def __init__(self, folder: Path, address: str = "127.0.0.1", port: int = 0, base: Path | None = None) -> None:
        """`base` gets kubeconfig, logs and notes; a lab passes its own folder, else all is in `folder`."""
        super().__init__(folder, base or folder)
        self.address = address
        self._given_port = port
        self.etcd = Daemon.noted("etcd", self.base)
        self.server = Daemon.noted("kube-apiserver", self.base)

    # -- life -------------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Start the processes without waiting; `wait_ready` waits. Parts that run already are left alone."""
        self._prepare()
        if self.etcd is None or not self.etcd.alive:
            self.etcd = self._daemon("etcd", self._etcd_command())
        if self.server is None or not self.server.alive:
            self.server = self._daemon("kube-apiserver", self._server_command())

    def start(self) -> None:
        self.launch()
        self.wait_ready()

    def wait_ready(self, seconds: float = 90) -> None:
        answer = "no answer yet"
        for _ in wait_until(seconds):
            self._check_alive()
            try:
                self.request("GET", "/readyz", timeout=2)
                return
            except (LabError, OSError) as error:
                answer = str(error)
        raise LabError(f"the API server is not ready after {seconds:.0f} s: {answer}; see {self.base}/logs")

    def stop(self, number: int = SIGKILL) -> None:
        """An outage: the server goes at once (its graceful end would wait for watches), etcd keeps the data."""
        if self.server is not None:
            self.server.stop(number)

    def vanish(self, key: str) -> None:
        """Remove an object from etcd behind the server's back, best while it is away: as if nobody had watched."""
        body = json.dumps({"key": base64.b64encode(f"/registry/{key}".encode()).decode()}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self._ports()['client']}/v3/kv/deleterange", body)
        with urllib.request.urlopen(request, timeout=5) as answer:
            if json.loads(answer.read()).get("deleted") != "1":
                raise LabError(f"etcd has no {key}")

    def close(self) -> None:
        """End both processes; the data stays in the folder."""
        self.stop()
        if self.etcd is not None:
            self.etcd.stop(SIGKILL)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- inside -----------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self._ports()['server']}"

    def _daemon(self, name: str, command: list[str]) -> Daemon:
        return Daemon.start(name, command, self.base)

    def _check_alive(self) -> None:
        room.require_some(self.base)
        for daemon in (self.etcd, self.server):
            if daemon is not None and not daemon.alive:
                raise LabError(f"{daemon.name} ended at once; its last lines:\n  {daemon.last_words()}")

    def _ports(self) -> dict[str, int]:
        """Chosen once and kept in a file, so that a restart, and a later command, find the same."""
        path = self.folder / "ports.json"
        if path.exists():
            ports: dict[str, int] = json.loads(path.read_text())
            return ports
        client, peer, server = _free_ports(3)
        ports = {"client": client, "peer": peer, "server": self._given_port or server}
        path.write_text(json.dumps(ports))
        return ports

    def _prepare(self) -> None:
        """Keys, tokens, policy: made once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        certificates.create(self.folder / "pki", [self.address, "127.0.0.1", "10.96.0.1"], names)
        if self.kubeconfig.exists():
            return
        token = secrets.token_hex(24)
        (self.folder / "tokens.csv").touch(mode=0o600)
        (self.folder / "tokens.csv").write_text(f'{token},lab-admin,lab-admin,"system:masters"\n')
        (self.folder / "audit-policy.yaml").write_text(_AUDIT_POLICY)
        kubeconfig.write(self.kubeconfig, self.url, self.authority, "lab-admin", token)

    def _etcd_command(self) -> list[str]:
        ports = self._ports()
        client, peer = f"http://127.0.0.1:{ports['client']}", f"http://127.0.0.1:{ports['peer']}"
        return [
            str(assets.find("etcd")),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        ]

    def _server_command(self) -> list[str]:
        ports, pki = self._ports(), self.folder / "pki"
        flags = {
            "etcd-servers": f"http://127.0.0.1:{ports['client']}",
            "bind-address": self.address,
            "advertise-address": "192.0.2.1" if self.address.startswith("127.") else self.address,
            "secure-port": ports["server"],
            "tls-cert-file": pki / "server.crt",
            "tls-private-key-file": pki / "server.key",
            "service-account-key-file": pki / "sa.pub",
            "service-account-signing-key-file": pki / "sa.key",
            "service-account-issuer": ISSUER,
            "service-cluster-ip-range": SERVICE_RANGES,
            "authorization-mode": "RBAC",
            "token-auth-file": self.folder / "tokens.csv",
            "endpoint-reconciler-type": "none" if self.address.startswith("127.") else "lease",
            "audit-policy-file": self.folder / "audit-policy.yaml",
            "audit-log-path": self.folder / "audit.log",
            "audit-log-mode": "blocking",
        }
        return [str(assets.find("kube-apiserver")), *(f"--{name}={value}" for name, value in flags.items())]


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; held together so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports
