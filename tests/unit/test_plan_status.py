"""What the status of a virtual server says, from a plan and what was read back."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from unit.builders import WEB, director_group, endpoint, endpoint_slice, node, service, store, virtual_server
from virtualserver.api.enums import RealServerState
from virtualserver.api.reasons import Reason
from virtualserver.model.types import LinkAddress, State
from virtualserver.plan import desired
from virtualserver.plan.desired import Circumstances
from virtualserver.plan.eligibility import Standing
from virtualserver.plan.health import Health
from virtualserver.plan.status import Seen, active_status, node_status
from virtualserver.plan.tunnels import HOLDER
from virtualserver.plan.verdicts import judge
from virtualserver.plan.world import World

UP = Health(RealServerState.UP, Reason.MONITOR_SUCCEEDED)


def world(**spec: Any) -> World:
    return store(
        virtual_servers=[virtual_server(**spec)],
        groups=[director_group()],
        nodes=[node("director-1", "198.18.0.11"), node("node-1", "198.18.0.31")],
        services=[service("web", 80)],
        slices=[endpoint_slice("web-1", "web", {**endpoint("10.244.31.11"), "nodeName": "node-1"})],
    ).world()


def seen(known: World, name: str, actual: State | None = None) -> Seen:
    standing = Standing(frozenset({"default"}) if name.startswith("director") else frozenset())
    plan = desired.plan(known, judge(known), lambda *_: UP, name, Circumstances(standing=standing))
    return Seen(name, plan, plan.state if actual is None else actual, {})


def test_two_ports_that_lead_to_one_port_of_a_real_server_are_one_entry() -> None:
    known = world(ports=[{"port": 80, "targetPort": 8080}, {"port": 81, "targetPort": 8080}])
    status = active_status(known.virtual_servers[WEB], judge(known)[WEB], seen(known, "director-1"))
    assert [(one["address"], one["port"]) for one in status["realServers"]] == [
        ("198.18.1.21", 8080),
        ("198.18.1.22", 8080),
    ]
    assert status["readyRealServers"] == "2/2"


def test_a_node_says_what_it_holds_for_its_pods() -> None:
    known = world(forwarding={"mode": "Tunnel"}, realServers=[{"service": {"name": "web"}}])
    (entry,) = node_status(known.virtual_servers[WEB], seen(known, "node-1"))["nodes"]
    assert (entry["node"], entry["reason"], entry["readyPods"]) == ("node-1", "Programmed", "1/1")
    assert entry["programmedGeneration"] == 1


def test_a_node_that_lacks_something_says_that_it_is_not_ready() -> None:
    known = world(forwarding={"mode": "Tunnel"}, realServers=[{"service": {"name": "web"}}])
    held = seen(known, "node-1").plan.state
    without = State(services=held.services, addresses=frozenset({LinkAddress(HOLDER, IPv4Address("198.18.0.199"), 32)}))
    (entry,) = node_status(known.virtual_servers[WEB], seen(known, "node-1", without))["nodes"]
    assert entry["reason"] == "Pending"
    assert "programmedGeneration" not in entry
