"""Small makers of API objects for tests: a valid one, with what the test is about changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from virtualserver.agent.claims import Claims
from virtualserver.agent.groupreports import GroupReports
from virtualserver.agent.lacking import Lacking
from virtualserver.agent.record import Record
from virtualserver.agent.standing import Standings
from virtualserver.agent.steadiness import Steadiness
from virtualserver.agent.takeovers import Takeovers
from virtualserver.agent.terms import Terms
from virtualserver.api.failover import MirrorReport
from virtualserver.kernel.port import Kernel
from virtualserver.model.failover import Heard
from virtualserver.plan.store import Store
from virtualserver.plan.world import ObjectKey

Json = dict[str, Any]


def virtual_server(
    name: str = "web", *, namespace: str = "default", created: str = "2026-01-01T00:00:00Z", **spec: Any
) -> Json:
    base: Json = {
        "addresses": ["198.18.0.100"],
        "ports": [{"port": 80}],
        "realServers": [{"address": "198.18.1.21"}, {"address": "198.18.1.22"}],
    }
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{name}",
            "generation": 1,
            "creationTimestamp": created,
        },
        "spec": base | spec,
    }


PACE = {"advertisementInterval": "100ms"}
"""A crash is noticed within 0.4 s."""


def director_group(
    name: str = "default", *, active: str | None = "director-1", created: str = "2026-01-01T00:00:00Z", **spec: Any
) -> Json:
    base: Json = {"nodeSelector": {"director": "true"}, "interface": "eth0"}
    spec["vrrp"] = PACE | spec.get("vrrp", {})
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "generation": 1, "creationTimestamp": created},
        "spec": base | spec,
        "status": {"activeDirector": active} if active else {},
    }


def director(node: str = "director-1", role: str = "Active", priority: int = 250, **more: Any) -> Json:
    """What a director says of itself in the status of its group."""
    said: Json = {"node": node, "role": role, "reason": "R", "message": f"{node} says so", "priority": priority}
    return said | more


def node(name: str = "director-1", *addresses: str, pods: str = "") -> Json:
    return {
        "metadata": {"name": name, "labels": {"director": "true"} if name.startswith("director") else {}},
        "spec": {"podCIDR": pods} if pods else {},
        "status": {"addresses": [{"type": "InternalIP", "address": one} for one in addresses]},
    }


def service(name: str = "web", port: int = 80, *, namespace: str = "default", port_name: str = "") -> Json:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"ports": [{"name": port_name, "port": port, "protocol": "TCP"}]},
    }


def endpoint_slice(
    name: str, service: str, *endpoints: Json, port: int = 8080, port_name: str = "", namespace: str = "default"
) -> Json:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": port_name, "port": port, "protocol": "TCP"}],
        "endpoints": list(endpoints),
    }


def endpoint(address: str, **conditions: bool) -> Json:
    return {"addresses": [address], "conditions": conditions}


KINDS = {
    "virtual_servers": "VirtualServer",
    "groups": "DirectorGroup",
    "nodes": "Node",
    "services": "Service",
    "slices": "EndpointSlice",
    "service_cidrs": "ServiceCIDR",
}


def store(**objects: list[Json]) -> Store:
    """A store with one director group and one director, plus what is given."""
    filled = Store()
    given: dict[str, list[Json]] = {"groups": [director_group()], "nodes": [node()]} | objects
    for name, listed in given.items():
        filled.replace(KINDS[name], listed)
    return filled


def standings(kernel: Kernel, record: Record, taken: bool = False) -> Standings:
    """What a node is to its groups by its kernel alone; ``taken``: another director is active in all of them."""
    terms = Terms(kernel, record, lambda _: taken, lambda: 0.0)
    nobody, able = Nobody(), Lacking("director-1", lambda: 0.0)
    return Standings(terms, Steadiness(), nobody, able, nobody, nobody.silence, lambda: 0.0)


class Nobody:
    """Nobody else was ever heard, and nothing is mirrored."""

    priorities: Mapping[str, int] | None = None

    def heard(self, router_id: int) -> Heard | None:
        return None

    def held_since(self, router_id: int) -> float | None:
        return None

    def rival(self, router_id: int) -> Heard | None:
        return None

    def silence(self, router_id: int) -> float | None:
        return None

    def behind(self, group: str) -> bool:
        return False

    def deaf(self, group: str) -> bool:
        return False

    def lapse(self, groups: Iterable[str]) -> None:
        pass

    def report(self, group: str) -> MirrorReport | None:
        return None

    def caught_up(self, group: str, request: str) -> bool:
        return False


def group_reports(
    node: str, told: dict[str, Any], clock: Callable[[], float] = lambda: 0.0, lacking: Lacking | None = None
) -> GroupReports:
    """Puts what is said of groups into ``told``."""
    takeovers = Takeovers(node, Nobody(), lambda: "2026-01-01T00:00:00Z", clock)
    claims = Claims(node, Nobody(), clock)
    return GroupReports(node, takeovers, claims, Nobody(), lacking or Lacking(node, clock), told.__setitem__)


WEB = ObjectKey("default", "web")
