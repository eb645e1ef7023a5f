"""The product: two virtual servers at one address, and directors that fail over by themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from bench.modes import Mode
from failover.subject import DIRECTORS, ECHO, connections, holder
from lab.console import LabError, wait_until
from lab.lab import MANIFESTS, Lab

VIP = "198.18.0.191"
GROUP = "/apis/virtualserver.dev/v1alpha1/directorgroups/default"
COLLECTION = "/apis/virtualserver.dev/v1alpha1/namespaces/default/virtualservers"
NAMES = {"TCP": "echo-tcp", "UDP": "echo-udp"}
PATIENCE = 90
VRRP = {"advertisementInterval": None, "preempt": False}
"""As it is by default; the lab's group is for machines that are busier."""


class Ours:
    """Through the API server, as its user would; connections are mirrored."""

    name = "ours"

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._count = 0
        """Real servers in each director's kernel."""

    def prepare(self, mode: Mode, scheduler: str) -> str:
        self._delete()
        self._count = len(NAMES) * len(mode.servers)
        vrrp = json.dumps({"spec": {"vrrp": VRRP}})
        self.lab.kubectl("patch", "directorgroup", "default", "--type=merge", "-p", vrrp)
        manifests = [self._manifest(mode, scheduler, protocol) for protocol in NAMES]
        for manifest in manifests:
            self.lab.kubectl("apply", "-f", "-", input=json.dumps(manifest))
        self._until(lambda: all(self._serves(mode, name) for name in NAMES.values()), f"{mode.name} is served")
        self._in_step()
        return VIP

    def active(self) -> str:
        return holder(self.lab, VIP)

    def crash(self, director: str) -> float:
        at = time.time()
        self.lab.crash(director)
        return at

    def restore(self, director: str) -> None:
        self.lab.boot(director)
        self._in_step()

    def hand_over(self) -> None:
        """Write what `virtualserver failover` writes."""
        self._ask({"id": f"bench-{time.time_ns()}", "reason": "benchmark"})

    def _ask(self, request: dict[str, str] | None) -> None:
        patch = json.dumps({"status": {"failoverRequest": request}})
        self.lab.kubectl("patch", "directorgroup", "default", "--subresource=status", "--type=merge", "-p", patch)

    def table_empty(self) -> None:
        """Clients reset their connections when they end, and the kernel forgets those after 10 s.

        One whose reset was lost would stay for 15 minutes: then tables are flushed, which the agents repair.
        """
        if not any(self._forgotten() for _ in wait_until(20)):
            for director in (self.active(), *DIRECTORS):
                self.lab.host(director).run("sysctl -qw net.ipv4.vs.expire_nodest_conn=1; ipvsadm -C")
            self._until(self._forgotten, "no director knows a connection")
            self._until(self._whole, "the agents have repaired what was flushed")
        self._in_step()

    def close(self) -> None:
        self._delete()
        self._ask(None)
        self.lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(MANIFESTS / "directorgroup.yaml"))

    def _forgotten(self) -> bool:
        return not any(connections(self.lab, director) for director in DIRECTORS)

    def _whole(self) -> bool:
        return all(self._services(director) == self._count for director in DIRECTORS)

    def _delete(self) -> None:
        self.lab.kubectl("delete", "virtualservers", "--ignore-not-found", *NAMES.values())
        self._until(lambda: not any(self._services(director) for director in DIRECTORS), "services are gone")

    def _manifest(self, mode: Mode, scheduler: str, protocol: str) -> dict[str, Any]:
        spec = {
            "addresses": [VIP],
            "ports": [{"port": ECHO, "protocol": protocol}],
            "forwarding": mode.forwarding,
            "scheduler": {"name": scheduler},
            "connectionMirroring": True,
            "realServers": [{"address": address} for address in mode.servers.values()],
            "monitors": [{"type": "TCP", "interval": "1s", "timeout": "500ms"}] if protocol == "TCP" else [],
        }
        metadata = {"name": NAMES[protocol], "namespace": "default"}
        kind = {"apiVersion": "virtualserver.dev/v1alpha1", "kind": "VirtualServer"}
        return {**kind, "metadata": metadata, "spec": spec}

    def _services(self, director: str) -> int:
        return self.lab.host(director).run("ipvsadm -Sn").out.count(f"{VIP}:{ECHO} -r")

    def _serves(self, mode: Mode, name: str) -> bool:
        """All real servers are up on both directors, and those that are nodes hold what they need."""
        status: dict[str, Any] = self.lab.api.request("GET", f"{COLLECTION}/{name}").get("status") or {}
        count = len(mode.servers)
        nodes = [one for one in status.get("nodes") or [] if one.get("programmedGeneration")]
        ready = status.get("readyRealServers") == f"{count}/{count}"
        return ready and self._whole() and len(nodes) == (0 if mode.method == "-m" else count)

    def _in_step(self) -> None:
        """One director is active, the other is a standby that has its connections."""
        self._until(lambda: self._roles() == ["Active", "Standby"], "one director is active, one a standby")

    def _roles(self) -> list[str]:
        status = self.lab.api.request("GET", GROUP).get("status") or {}
        reports = status.get("directors") or []
        behind = [one for one in reports if one["role"] == "Standby" and not _in_step(one)]
        return [] if behind else sorted(one["role"] for one in reports)

    def _until(self, check: Callable[[], bool], what: str) -> None:
        for _ in wait_until(PATIENCE):
            if check():
                return
        raise LabError(f"not within {PATIENCE} s: {what}")


def _in_step(report: dict[str, Any]) -> bool:
    return bool((report.get("mirror") or {}).get("state") == "InStep")
