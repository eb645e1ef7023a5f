from __future__ import annotations

from typing import Any

from unit import builders
from virtualserver.controller.decide import fallback_status, group_status, reporting, virtual_server_status
from virtualserver.plan.groupseen import group_seen
from virtualserver.plan.verdicts import judge
from virtualserver.plan.world import ObjectKey, World

KEY = ObjectKey("default", "web")


def conditions(status: Any) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


def world(**objects: Any) -> World:
    return builders.store(**({"virtual_servers": [builders.virtual_server()]} | objects)).world()


def test_an_accepted_virtual_server_has_both_conditions() -> None:
    seen = world()
    status = virtual_server_status(seen.virtual_servers[KEY], judge(seen)[KEY])
    assert status["observedGeneration"] == 1
    assert conditions(status) == {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "Resolved")}
    assert all(one["observedGeneration"] == 1 for one in status["conditions"])


def test_of_a_refused_one_nothing_is_said_about_references() -> None:
    seen = world(groups=[])
    status = virtual_server_status(seen.virtual_servers[KEY], judge(seen)[KEY])
    assert conditions(status) == {"Accepted": ("False", "DirectorGroupNotFound")}


def instead(seen: World, *unreachable: str, ready: str = "") -> Any:
    return fallback_status(seen.virtual_servers[KEY], judge(seen)[KEY], frozenset(unreachable), ready)


def test_an_active_director_speaks_for_itself() -> None:
    assert instead(world(), "another") is None


def test_without_a_director_the_controller_says_so() -> None:
    status = instead(world(groups=[builders.director_group(active=None)], nodes=[]))
    assert conditions(status) == {"Programmed": ("False", "NoDirector"), "Available": ("False", "NotProgrammed")}


def test_a_refused_one_is_not_programmed() -> None:
    status = instead(world(groups=[]))
    assert conditions(status) == {"Programmed": ("False", "NotAccepted"), "Available": ("False", "NotProgrammed")}


def test_one_that_refers_only_to_what_is_missing_is_not_programmed_for_that_reason() -> None:
    missing = builders.virtual_server(realServers=[{"service": {"name": "shop"}}])
    status = instead(world(virtual_servers=[missing]))
    assert conditions(status) == {"Programmed": ("False", "ServiceNotFound"), "Available": ("False", "NotProgrammed")}
    assert "'shop' does not exist" in status["conditions"][0]["message"]


def test_the_report_of_a_silent_director_is_unknown() -> None:
    status = instead(world(), "director-1", ready="2/3")
    assert conditions(status) == {
        "Programmed": ("Unknown", "DirectorUnreachable"),
        "Available": ("Unknown", "DirectorUnreachable"),
    }
    assert status["readyRealServers"] == "?/3"
    assert instead(world(), "director-1", ready="?/3") == status, "said again it is the same"
    assert "readyRealServers" not in instead(world(), "director-1")


def test_a_group_with_directors_of_which_none_is_active_is_no_director_either() -> None:
    status = instead(world(groups=[builders.director_group(active=None)]))
    assert conditions(status)["Programmed"] == ("False", "NoDirector")
    assert "no director of DirectorGroup 'default' is active" in status["conditions"][0]["message"]


def may_report(seen: World) -> dict[ObjectKey, frozenset[str]]:
    return reporting(seen, judge(seen))


def test_nodes_of_real_servers_may_report_where_they_take_packets_as_they_are() -> None:
    nodes = [
        builders.node("director-1"),
        builders.node("node-1", "198.18.0.31"),
        builders.node("node-2", "198.18.0.32"),
    ]
    for node in nodes[1:]:
        node["metadata"]["labels"] = {}
    pod = {**builders.endpoint("10.244.32.11"), "nodeName": "node-2"}
    objects = {
        "nodes": nodes,
        "services": [builders.service("web", 80)],
        "slices": [builders.endpoint_slice("web-1", "web", pod)],
    }
    real_servers = [{"address": "198.18.0.31"}, {"service": {"name": "web"}}]

    def names(mode: str) -> frozenset[str]:
        server = builders.virtual_server(realServers=real_servers, forwarding={"mode": mode})
        return may_report(world(virtual_servers=[server], **objects))[KEY]

    assert names("Tunnel") == names("DirectRouting") == {"director-1", "node-1", "node-2"}
    assert names("NAT") == {"director-1"}


def test_the_directors_of_a_group_may_report_and_nobody_else() -> None:
    other = builders.node("worker")
    other["metadata"]["labels"] = {}
    nodes = [builders.node("director-1"), builders.node("director-2"), other]
    assert may_report(world(nodes=nodes)) == {KEY: {"director-1", "director-2"}}
    assert may_report(world(nodes=nodes, groups=[])) == {KEY: frozenset()}


def test_while_a_spec_cannot_be_read_everybody_may_report() -> None:
    everybody = {KEY: {"director-1"}}
    assert may_report(world(virtual_servers=[builders.virtual_server(scheduler={"name": "newest"})])) == everybody
    assert may_report(world(groups=[builders.director_group(interface=7)])) == everybody


def said_of_group(seen: World, *said: Any, **more: Any) -> Any:
    directors = group_seen({"directors": list(said), "activeDirector": "director-1"})
    return group_status(seen.groups["default"], seen, directors, **more)


def test_status_of_a_group() -> None:
    said = builders.director(), builders.director("director-2", "Standby", 249), builders.director("d-3", "Standby")
    status = said_of_group(world(), *said)
    assert conditions(status) == {
        "Accepted": ("True", "Accepted"),
        "Available": ("True", "DirectorActive"),
        "Degraded": ("False", "DirectorsReady"),
    }
    assert status["standbys"] == "d-3,director-2", "in the order of their priorities"
    assert "activeDirector" not in status, "that is the directors' own"


def test_status_of_a_group_that_an_older_one_is_in_the_way_of() -> None:
    seen = world(groups=[builders.director_group(), builders.director_group("edge", created="2026-01-02T00:00:00Z")])
    status = group_status(seen.groups["edge"], seen, group_seen({}))
    assert conditions(status)["Accepted"] == ("False", "RouterIdInUse")
    assert "spec.vrrp.routerId: 51 is used by DirectorGroup default" in status["conditions"][0]["message"]
    assert conditions(status)["Degraded"] == ("True", "RouterIdInUse"), "`kubectl get dg` shows it"


def test_status_of_a_group_without_nodes() -> None:
    status = said_of_group(world(nodes=[]))
    assert conditions(status)["Accepted"] == ("False", "NoDirector")
    assert conditions(status)["Available"] == ("False", "NoActiveDirector")
    assert "standbys" not in status


def test_status_of_a_group_that_cannot_be_read() -> None:
    seen = world(groups=[builders.director_group(interface=7)])
    assert conditions(said_of_group(seen))["Accepted"] == ("False", "InvalidSpec")


def test_one_director_is_enough_where_no_more_may_be() -> None:
    seen = world(groups=[builders.director_group(maxDirectors=1)])
    assert conditions(said_of_group(seen, builders.director()))["Degraded"] == ("False", "DirectorsReady")
    assert conditions(said_of_group(world(), builders.director()))["Degraded"] == ("True", "NoStandby")


def test_while_directors_contradict_each_other_degraded_stays_as_it_is() -> None:
    standing = {"type": "Degraded", "status": "True", "reason": "NoStandby", "message": "m"}
    for before in ([standing], []):
        status = said_of_group(world(), builders.director(), contradicted={"conditions": before})
        assert [one for one in status["conditions"] if one["type"] == "Degraded"] == before


def test_a_director_that_was_lost_is_told_before_it_is_known_whether_it_lives() -> None:
    standing = {"type": "Degraded", "status": "False", "reason": "DirectorsReady", "message": "m"}
    failover = {"node": "director-2", "before": "director-1", "reason": "DirectorLost"}
    said = {"directors": [builders.director("director-2")], "activeDirector": "director-2", "lastFailover": failover}
    group = world().groups["default"]
    lost = group_status(group, world(), group_seen(said), contradicted={"conditions": [standing]})
    assert conditions(lost)["Degraded"] == ("True", "DirectorUnreachable")
    said["lastFailover"] = failover | {"reason": "Requested"}
    handed_over = group_status(group, world(), group_seen(said), contradicted={"conditions": [standing]})
    assert conditions(handed_over)["Degraded"] == ("False", "DirectorsReady")


MIRRORING = {"virtual_servers": [builders.virtual_server(connectionMirroring=True)]}


def mirrored(seen: World, said: Any, known: Any = None) -> tuple[str, str] | None:
    status = virtual_server_status(seen.virtual_servers[KEY], judge(seen)[KEY], known, said)
    return conditions(status).get("Mirrored")


def test_mirrored_is_said_of_those_that_ask_for_it_and_stays_while_nothing_is_clear() -> None:
    standby = builders.director("director-2", "Standby", mirror={"state": "InStep"})
    said = group_seen({"directors": [builders.director(), standby]})
    assert mirrored(world(**MIRRORING), said) == ("True", "InStep")
    assert mirrored(world(), said) is None
    standing = {"type": "Mirrored", "status": "True", "reason": "InStep", "message": "m"}
    assert mirrored(world(**MIRRORING), None, {"conditions": [standing]}) == ("True", "InStep")
    assert mirrored(world(**MIRRORING), None) is None
