"""The condition Degraded from the entries of all nodes."""

from __future__ import annotations

from typing import Any

from unit.builders import store, virtual_server
from virtualserver.api.reasons import Reason
from virtualserver.controller.decide import virtual_server_status
from virtualserver.controller.findings import SHOWN, FindingsSeen, degraded, told
from virtualserver.plan.verdicts import judge
from virtualserver.plan.world import ObjectKey

WEB = ObjectKey("default", "web")


def entry(node: str, *findings: tuple[str, str]) -> dict[str, Any]:
    return {"node": node, "findings": [{"reason": reason, "message": message} for reason, message in findings]}


def test_nothing_is_said_before_any_node_has_spoken() -> None:
    assert degraded(told({})) is None
    world = store(virtual_servers=[virtual_server()]).world()
    status = virtual_server_status(world.virtual_servers[WEB], judge(world)[WEB], {})
    assert "Degraded" not in [one["type"] for one in status["conditions"]]


def test_nodes_without_findings_are_well() -> None:
    found = degraded(told({"directors": [{"node": "director-1"}]}))
    assert found is not None
    assert (found.ok, found.reason) == (False, Reason.NO_FINDING)


def test_all_messages_are_told_with_who_says_so_and_what_two_say_once() -> None:
    status = {
        "directors": [entry("director-2", ("NotOnLink", "b")), entry("director-1", ("NotOnLink", "b"))],
        "nodes": [entry("node-1", ("MtuTooSmall", "a"))],
    }
    found = degraded(told(status))
    assert found is not None
    assert (found.ok, found.reason) == (True, Reason.MTU_TOO_SMALL)
    assert found.message == "node-1: a; director-1, director-2: b"
    world = store(virtual_servers=[virtual_server()]).world()
    made = virtual_server_status(world.virtual_servers[WEB], judge(world)[WEB], status)
    (condition,) = (one for one in made["conditions"] if one["type"] == "Degraded")
    assert (condition["status"], condition["reason"]) == ("True", "MtuTooSmall")


def test_a_reason_of_a_newer_version_counts_too() -> None:
    found = degraded(told({"nodes": [entry("node-1", ("FluxCapacitor", "a"))]}))
    assert found is not None
    assert (found.ok, found.reason) == (True, Reason.OTHER_FINDING)


def test_a_great_many_are_counted() -> None:
    found = degraded(told({"nodes": [entry("node-1", *(("NotOnLink", f"{n:03}") for n in range(SHOWN + 5)))]}))
    assert found is not None
    assert found.message.endswith("; and 5 more")


def test_only_findings_that_differ_are_news() -> None:
    seen = FindingsSeen()
    obj = virtual_server()

    def put(*findings: tuple[str, str], reported: str) -> bool:
        return seen.put("", obj | {"status": {"nodes": [entry("node-1", *findings) | {"reported": reported}]}})

    assert put(reported="1")
    assert not put(reported="2")
    assert put(("NotOnLink", "a"), reported="3")
    assert not put(("NotOnLink", "a"), reported="4")
    assert put(reported="5")
