"""What cannot be beside mirrored connections, or beside another director, is refused or kept out, and told."""

from __future__ import annotations

from typing import Any

import pytest

from unit.builders import Json, director_group, endpoint, endpoint_slice, node, service, store, virtual_server
from virtualserver.api.enums import RealServerState
from virtualserver.api.reasons import Reason
from virtualserver.plan import desired
from virtualserver.plan.findings import Finding
from virtualserver.plan.health import Health
from virtualserver.plan.realservers import Candidate, Wish
from virtualserver.plan.shares import share
from virtualserver.plan.verdicts import Verdict, judge
from virtualserver.plan.world import ObjectKey, World

OLD, YOUNG = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
MIRRORED: Json = {"connectionMirroring": True, "addresses": ["198.18.0.101"]}
MIXED: Json = {"forwarding": {"mode": "Tunnel"}, "addresses": ["fd00:18::102"]}
BOTH: Json = {"realServers": [{"address": "198.18.1.21"}, {"address": "fd00:18:1::21"}]}
UP = Health(RealServerState.UP, Reason.MONITOR_SUCCEEDED)
DIRECTORS = [node("director-1", "198.18.0.11"), node("director-2", "198.18.0.12")]


def judged(old: Json, young: Json, **objects: list[Json]) -> tuple[Finding, Finding]:
    servers = [virtual_server("young", created=YOUNG, **young), virtual_server("old", created=OLD, **old)]
    verdicts = judge(store(**({"virtual_servers": servers, "nodes": DIRECTORS} | objects)).world())
    return tuple(verdicts[ObjectKey("default", name)].accepted for name in ("old", "young"))  # type: ignore[return-value]  # two names, so two values


@pytest.mark.parametrize(
    ("old", "young", "words"),
    [
        (MIXED, MIRRORED, "spec.connectionMirroring: VirtualServer default/old, which is older, has real servers of"),
        (MIRRORED, MIXED, "spec.realServers: they are of another family (IPv4 or IPv6) than an address, and Virtual"),
    ],
)
def test_what_a_kernel_refuses_beside_an_older_one_is_refused(old: Json, young: Json, words: str) -> None:
    first, second = judged(old, young)
    assert first.ok
    assert second.reason is Reason.MIXED_FAMILIES
    assert second.message.startswith(words)
    assert "default/old" in second.message
    assert "director-1" in second.message
    assert "or choose a directorGroup of other nodes" in second.message


def gre(address: str, *, checksum: bool) -> Json:
    return {"forwarding": {"mode": "Tunnel", "tunnel": {"type": "GRE", "checksum": checksum}}, "addresses": [address]}


@pytest.mark.parametrize(("checksum", "words"), [(True, "has GRE without from"), (False, "has GRE with a checksum")])
def test_gre_with_a_checksum_beside_gre_without_on_the_same_directors_is_refused(checksum: bool, words: str) -> None:
    first, second = judged(gre("198.18.0.101", checksum=not checksum), gre("198.18.0.102", checksum=checksum))
    assert first.ok
    assert second.reason is Reason.TUNNEL_CONFLICT
    assert second.message.startswith("spec.forwarding.tunnel.checksum: VirtualServer default/old, which is older, ")
    assert words in second.message
    assert f"choose {str(not checksum).lower()}" in second.message


def test_gre_alike_and_other_tunnels_stand_beside_each_other() -> None:
    one, gue = gre("198.18.0.101", checksum=True), {"mode": "Tunnel", "tunnel": {"type": "GUE"}}
    assert all(found.ok for found in judged(one, gre("198.18.0.102", checksum=True)))
    assert all(found.ok for found in judged(one, {"forwarding": gue, "addresses": ["198.18.0.102"]}))


@pytest.mark.parametrize(
    "other",
    [
        {"forwarding": {"mode": "Tunnel"}, "addresses": ["198.18.0.102"]},
        {
            "forwarding": {"mode": "Tunnel"},
            "addresses": ["198.18.0.102", "fd00:18::102"],
            "realServers": [{"address": "198.18.1.21"}, {"address": "fd00:18:1::21"}],
        },
        {"addresses": ["fd00:18::102"], "realServers": [{"address": "fd00:18:1::21"}]},
        MIRRORED | {"addresses": ["198.18.0.102"]},
    ],
)
def test_families_that_do_not_mix_are_no_obstacle(other: Json) -> None:
    assert all(one.ok for one in judged(MIRRORED, other))
    assert all(one.ok for one in judged(other, MIRRORED))


def test_groups_of_other_nodes_do_not_matter() -> None:
    edge = node("edge-1")
    edge["metadata"]["labels"] = {"role": "edge"}
    groups = [director_group(), director_group("edge", nodeSelector={"role": "edge"}, vrrp={"routerId": 52})]
    assert all(one.ok for one in judged(MIRRORED, MIXED | {"directorGroup": "edge"}, groups=groups, nodes=[edge]))


def test_a_refused_one_stands_in_nobodys_way() -> None:
    verdicts = judge(
        store(
            virtual_servers=[
                virtual_server("a", created=OLD, directorGroup="nowhere", **MIXED),
                virtual_server("b", created=YOUNG, **MIRRORED),
            ]
        ).world()
    )
    assert verdicts[ObjectKey("default", "b")].accepted.ok


def test_a_refused_one_starts_no_mirroring() -> None:
    """Its daemons would refuse real servers of another family, which then are allowed."""
    refused = MIRRORED | {"addresses": ["198.18.0.101"]}
    listed = [virtual_server("a", created=OLD, **MIXED), virtual_server("b", created=YOUNG, **refused)]
    world = store(virtual_servers=listed, nodes=DIRECTORS).world()
    plan = desired.plan(world, judge(world), lambda *_: UP, "director-1")
    assert [(found.ok, key.name) for key, found in plan_findings(world).items()] == [(True, "a"), (False, "b")]
    assert (plan.mirrored, plan.state.daemons) == (frozenset(), frozenset())


def plan_findings(world: World) -> dict[ObjectKey, Finding]:
    return {key: verdict.accepted for key, verdict in judge(world).items()}


@pytest.mark.parametrize(
    ("floating", "spec", "nodes", "told"),
    [
        (None, {}, DIRECTORS, "IPv4"),
        (["198.18.1.1"], {}, DIRECTORS, ""),
        (["198.18.1.1"], {"addresses": ["198.18.0.101", "fd00:18::101"]} | BOTH, DIRECTORS, "IPv6"),
        (["198.18.1.1", "fd00:18:1::1"], {"addresses": ["198.18.0.101", "fd00:18::101"]} | BOTH, DIRECTORS, ""),
        (None, {"connectionMirroring": False}, DIRECTORS, ""),
        (None, {"forwarding": {"mode": "DirectRouting"}}, DIRECTORS, ""),
        (None, {}, DIRECTORS[:1], ""),
    ],
)
def test_answers_that_do_not_move_with_the_address_are_told(
    floating: list[str] | None, spec: Json, nodes: list[Json], told: str
) -> None:
    gateway: Json = {"gateway": {"interface": "eth1", "addresses": floating}} if floating else {}
    servers = [virtual_server("old", created=OLD, **(MIRRORED | spec))]
    known = store(virtual_servers=servers, groups=[director_group(**gateway)], nodes=nodes).world()
    found = judge(known)[ObjectKey("default", "old")].accepted
    assert found.ok
    assert ("spec.gateway.addresses" in found.message) is bool(told)
    assert f"no {told} address" in found.message or not told


def test_pods_behind_nodes_of_the_other_family_only_are_found_out_when_they_are_there() -> None:
    spec = MIXED | MIRRORED | {"addresses": ["198.18.0.101"], "realServers": [{"service": {"name": "web"}}]}
    pods = [endpoint_slice("web-1", "web", {**endpoint("10.244.31.11"), "nodeName": "node-1"})]

    def verdict(address: str, slices: list[Json]) -> Finding:
        nodes = [*DIRECTORS, node("node-1", address)]
        world = store(virtual_servers=[virtual_server(**spec)], nodes=nodes, services=[service()], slices=slices)
        return judge(world.world())[ObjectKey("default", "web")].accepted

    assert verdict("fd00:18::31", []).ok
    assert verdict("198.18.0.31", pods).ok
    refused = verdict("fd00:18::31", pods)
    assert refused.reason is Reason.MIXED_FAMILIES
    assert refused.message.startswith("spec.connectionMirroring: this one has real servers of another family")


def test_an_address_never_turns_to_the_other_family_for_want_of_health() -> None:
    """The kernel of a director that mirrors would refuse it."""
    spec: Json = {
        "forwarding": {"mode": "Tunnel"},
        "addresses": ["198.18.0.100"],
        "realServers": [{"address": "198.18.1.21"}, {"address": "fd00:18:1::22"}],
    }
    world = store(virtual_servers=[virtual_server(**spec)], nodes=DIRECTORS).world()
    down = Health(RealServerState.DOWN, Reason.CONNECTION_REFUSED)
    plan = desired.plan(world, judge(world), lambda _, one: down if one.address.version == 4 else UP, "director-1")
    assert [list(found.destinations) for found in plan.state.services.values()] == [[]]


def candidates(mode: str, *nodes: Json) -> list[Candidate]:
    """A machine, a director as one, a pod on a director, and a pod elsewhere."""
    pods = [
        {**endpoint("10.244.12.11"), "nodeName": "director-2"},
        {**endpoint("10.244.31.11"), "nodeName": "node-1"},
    ]
    real_servers = [{"address": "198.18.0.12"}, {"address": "198.18.1.21"}, {"service": {"name": "web"}}]
    world = store(
        virtual_servers=[virtual_server(realServers=real_servers, forwarding={"mode": mode})],
        nodes=[*nodes, node("node-1", "198.18.0.31")],
        services=[service()],
        slices=[endpoint_slice("web-1", "web", *pods)],
    ).world()
    (listed,) = verdict_of(world).candidates.values()
    return listed


def verdict_of(world: World) -> Verdict:
    return judge(world)[ObjectKey("default", "web")]


def kept_out(listed: list[Candidate]) -> dict[str, Reason]:
    return {str(one.key.address): one.reason for one in listed if one.wish is Wish.STAY_OUT}


@pytest.mark.parametrize("mode", ["Tunnel", "DirectRouting"])
def test_one_of_several_directors_is_no_real_server_and_has_no_pods_that_are(mode: str) -> None:
    listed = candidates(mode, *DIRECTORS)
    on_director = Reason.ENDPOINT_ON_DIRECTOR
    assert kept_out(listed) == {"198.18.0.12": on_director, "10.244.12.11": on_director}
    words = {str(one.key.address): one.message for one in listed if one.message}
    assert words["198.18.0.12"].startswith("it is director-2, a director, which balances packets")
    assert words["10.244.12.11"].startswith("it runs on director-2, a director")
    assert "keep its pods off directors, or use mode NAT" in words["10.244.12.11"]


def test_the_status_says_why() -> None:
    world = store(virtual_servers=[virtual_server()]).world()
    spec = next(iter(world.virtual_servers.values())).spec
    (one,) = (one for one in candidates("Tunnel", *DIRECTORS) if one.node == "director-2")
    assert spec is not None
    found = share(spec, ObjectKey("default", "web"), one, lambda *_: UP)
    assert (found.weight, found.health.state, found.health.message) == (None, RealServerState.DOWN, one.message)


def test_such_a_director_takes_no_packets_for_them_either() -> None:
    known = store(
        virtual_servers=[virtual_server(realServers=[{"address": "198.18.0.12"}], forwarding={"mode": "Tunnel"})],
        nodes=DIRECTORS,
    ).world()
    plan: Any = desired.plan(known, judge(known), lambda *_: UP, "director-2")
    assert not plan.state.own_links


def test_a_director_alone_may_have_pods_and_with_nat_all_may() -> None:
    assert kept_out(candidates("Tunnel", node("director-2", "198.18.0.12"))) == {}
    assert kept_out(candidates("NAT", *DIRECTORS)) == {}
