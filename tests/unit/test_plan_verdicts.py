"""Which virtual servers are served, and in which words the others are told why not."""

from __future__ import annotations

import pytest

from unit.builders import WEB, Json, director_group, node, service, store, virtual_server
from virtualserver.api.enums import RealServerState
from virtualserver.api.reasons import Reason
from virtualserver.plan import desired
from virtualserver.plan.health import Health
from virtualserver.plan.verdicts import Verdict, judge
from virtualserver.plan.world import ObjectKey

UP = Health(RealServerState.UP, Reason.MONITOR_SUCCEEDED)


def verdict_of(**objects: list[Json]) -> Verdict:
    return judge(store(**objects).world())[WEB]


def test_a_plain_virtual_server_is_accepted() -> None:
    verdict = verdict_of(virtual_servers=[virtual_server()])
    assert verdict.accepted.ok
    assert verdict.resolved.ok


@pytest.mark.parametrize(
    ("address", "objects", "words"),
    [
        ("198.18.0.11", {"nodes": [node("director-1", "198.18.0.11")]}, ["198.18.0.11", "node director-1"]),
        ("10.244.1.9", {"nodes": [node("director-1", pods="10.244.1.0/24")]}, ["10.244.1.9", "pod range"]),
        (
            "10.96.0.10",
            {"service_cidrs": [{"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16"]}}]},
            ["10.96.0.10", "Service range"],
        ),
        (
            "198.18.1.1",
            {"groups": [director_group(gateway={"interface": "eth1", "addresses": ["198.18.1.1"]})]},
            ["gateway of DirectorGroup default"],
        ),
    ],
)
def test_an_address_that_belongs_to_somebody_else_is_refused(
    address: str, objects: dict[str, list[Json]], words: list[str]
) -> None:
    accepted = verdict_of(virtual_servers=[virtual_server(addresses=[address])], **objects).accepted
    assert not accepted.ok
    assert accepted.reason == Reason.ADDRESS_FORBIDDEN
    for word in ["spec.addresses", *words]:
        assert word in accepted.message


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"addresses": ["127.0.0.9"]}, "spec.addresses[0]: must not be a loopback address (127.0.0.0/8 or ::1)"),
        ({"addresses": ["::ffff:198.18.0.9"]}, "spec.addresses[0]: must be an IPv4 or IPv6 address"),
        ({"addresses": ["198.18.0.9", "fd00::9"]}, "spec.addresses: fd00::9 has no real server of its family"),
        ({"realServers": [{}]}, "spec.realServers[0]: exactly one of address and service must be set; add one"),
        (
            {"realServers": [{"address": "198.18.1.21", "service": {"name": "web"}}]},
            "spec.realServers[0]: exactly one of address and service must be set; remove one of them",
        ),
        ({"scheduler": {"name": "mh", "flags": ["sh-port"]}}, "spec.scheduler.flags: must belong to the scheduler"),
        (
            {"persistence": {"type": "SourceAddress", "timeout": "999ms"}},
            "spec.persistence.timeout: must be from 1s to 744h (got '999ms')",
        ),
        (
            {"persistence": {"type": "SourceAddress", "timeout": "1s1ms"}},
            "spec.persistence.timeout: must be whole seconds",
        ),
        ({"monitors": [{"timeout": "3s"}]}, "spec.monitors[0].timeout: must not be longer than interval (3s > 2s)"),
        ({"ports": [{"port": 80}, {"port": 80}]}, 'spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}'),
        (
            {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]},
            "spec.ports: must not contain a name twice: a",
        ),
        ({"ports": [{"port": "80"}]}, "spec.ports[0].port: Input should be a valid integer (got '80')"),
    ],
)
def test_what_an_older_definition_let_through_is_refused_by_the_name_of_the_field(spec: Json, words: str) -> None:
    accepted = verdict_of(virtual_servers=[virtual_server(**spec)]).accepted
    assert accepted.reason == Reason.INVALID_SPEC
    assert accepted.message.startswith(words)


def test_the_api_servers_address_is_refused() -> None:
    slices = [
        {
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "ports": [{"name": "https", "port": 6443}],
            "endpoints": [{"addresses": ["198.18.0.5"]}],
        }
    ]
    accepted = verdict_of(virtual_servers=[virtual_server(addresses=["198.18.0.5"])], slices=slices).accepted
    assert "API server" in accepted.message


def test_the_older_of_two_virtual_servers_keeps_the_port_and_the_younger_is_told() -> None:
    old = virtual_server("old", created="2026-01-01T00:00:00Z")
    young = virtual_server("young", created="2026-01-02T00:00:00Z")
    verdicts = judge(store(virtual_servers=[young, old]).world())
    assert verdicts[ObjectKey("default", "old")].accepted.ok
    refused = verdicts[ObjectKey("default", "young")].accepted
    assert refused.reason == Reason.ADDRESS_IN_USE
    assert "198.18.0.100:80" in refused.message
    assert "default/old" in refused.message


def test_two_virtual_servers_share_an_address_on_different_ports() -> None:
    other = virtual_server("other", ports=[{"port": 8080}], created="2026-01-02T00:00:00Z")
    verdicts = judge(store(virtual_servers=[virtual_server(), other]).world())
    assert all(verdict.accepted.ok for verdict in verdicts.values())


def test_an_address_is_not_shared_between_namespaces() -> None:
    other = virtual_server("web", namespace="b", ports=[{"port": 8080}], created="2026-01-02T00:00:00Z")
    objects = store(virtual_servers=[virtual_server(), other])
    verdict = judge(objects.world())[ObjectKey("b", "web")]
    assert verdict.accepted.reason == Reason.ADDRESS_IN_USE


def test_an_address_is_not_shared_between_groups() -> None:
    """Each has an active director of its own, and both would hold it."""
    groups = [director_group(), director_group("second", vrrp={"routerId": 52})]
    other = virtual_server("other", directorGroup="second", ports=[{"port": 8080}], created="2026-01-02T00:00:00Z")
    objects = store(virtual_servers=[virtual_server(), other], groups=groups)
    accepted = judge(objects.world())[ObjectKey("default", "other")].accepted
    assert accepted.reason == Reason.ADDRESS_IN_USE
    assert "VirtualServer default/web of DirectorGroup 'default'" in accepted.message


def test_a_refused_virtual_server_claims_nothing() -> None:
    bad = virtual_server("bad", directorGroup="nowhere", created="2025-01-01T00:00:00Z")
    verdicts = judge(store(virtual_servers=[virtual_server(), bad]).world())
    assert not verdicts[ObjectKey("default", "bad")].accepted.ok
    assert verdicts[WEB].accepted.ok


def test_a_missing_director_group_is_named() -> None:
    accepted = verdict_of(virtual_servers=[virtual_server(directorGroup="edge")]).accepted
    assert accepted.reason == Reason.DIRECTOR_GROUP_NOT_FOUND
    assert "'edge'" in accepted.message


def test_a_group_that_is_not_accepted_serves_nothing_and_the_reason_is_passed_on() -> None:
    groups = [director_group(), director_group("edge", created="2026-01-02T00:00:00Z")]
    verdict = verdict_of(virtual_servers=[virtual_server(directorGroup="edge")], groups=groups)
    assert verdict.accepted.reason == Reason.DIRECTOR_GROUP_NOT_ACCEPTED
    assert verdict.accepted.message == (
        "spec.directorGroup: DirectorGroup 'edge' is not accepted: "
        "spec.vrrp.routerId: 51 is used by DirectorGroup default, which is older; choose another"
    )
    assert verdict.group is None


def test_a_real_server_outside_the_groups_networks_is_refused() -> None:
    groups = [director_group(realServerNetworks=["198.18.1.0/24"])]
    server = virtual_server(realServers=[{"address": "203.0.113.9"}])
    accepted = verdict_of(virtual_servers=[server], groups=groups).accepted
    assert accepted.reason == Reason.REAL_SERVER_FORBIDDEN
    assert "203.0.113.9" in accepted.message
    assert "198.18.1.0/24" in accepted.message


def test_a_spec_that_this_version_cannot_read_is_refused_alone() -> None:
    newer = virtual_server("newer", forwarding={"mode": "Teleport"}, addresses=["198.18.0.101"])
    verdicts = judge(store(virtual_servers=[virtual_server(), newer]).world())
    assert verdicts[WEB].accepted.ok
    refused = verdicts[ObjectKey("default", "newer")].accepted
    assert refused.reason == Reason.INVALID_SPEC
    assert "forwarding.mode" in refused.message
    assert "Teleport" in refused.message


@pytest.mark.parametrize(
    ("services", "reason", "words"),
    [
        ([], Reason.SERVICE_NOT_FOUND, ["'web'", "does not exist"]),
        ([service("web", 8443)], Reason.SERVICE_PORT_NOT_FOUND, ["80/TCP", "8443/TCP"]),
    ],
)
def test_a_reference_that_leads_nowhere_is_named_and_the_rest_goes_on(
    services: list[Json], reason: Reason, words: list[str]
) -> None:
    server = virtual_server(realServers=[{"service": {"name": "web"}}, {"address": "198.18.1.21"}])
    verdict = verdict_of(virtual_servers=[server], services=services)
    assert verdict.accepted.ok
    assert verdict.resolved.reason == reason
    for word in words:
        assert word in verdict.resolved.message
    assert [str(one.key) for port in verdict.candidates.values() for one in port] == ["198.18.1.21:80"]


def test_with_nothing_but_references_that_lead_nowhere_nothing_is_programmed_and_the_address_is_kept() -> None:
    nowhere = virtual_server(realServers=[{"service": {"name": "web"}}])
    younger = virtual_server("younger", created="2026-01-02T00:00:00Z")
    world = store(virtual_servers=[nowhere, younger]).world()
    verdicts = judge(world)
    assert verdicts[WEB].accepted.ok
    assert verdicts[WEB].resolved.reason == Reason.SERVICE_NOT_FOUND
    assert verdicts[ObjectKey("default", "younger")].accepted.reason == Reason.ADDRESS_IN_USE
    wanted = desired.plan(world, verdicts, lambda *_: UP, "director-1")
    assert (wanted.state.services, wanted.state.addresses, wanted.here) == ({}, frozenset(), frozenset())


BAD_GROUP = director_group("bad", gateway={"interface": "eth1", "addresses": ["nonsense"]})


@pytest.mark.parametrize(
    "objects",
    [
        {"groups": [director_group(), BAD_GROUP]},
        {"groups": [director_group(), director_group("bad", realServerNetworks=["nonsense"])]},
        {"nodes": [node(), node("other", pods="nonsense")]},
        {"service_cidrs": [{"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["nonsense"]}}]},
        {"services": [{"metadata": {"name": "odd", "namespace": "default"}, "spec": {"ports": [{}]}}]},
    ],
    ids=["gateway", "networks", "pod range", "service range", "service port"],
)
def test_one_object_that_cannot_be_read_stops_nobody_else(objects: dict[str, list[Json]]) -> None:
    bad = virtual_server("bad", directorGroup="bad", addresses=["198.18.0.101"], created="2025-01-01T00:00:00Z")
    verdicts = judge(store(virtual_servers=[virtual_server(), bad], **objects).world())
    assert verdicts[WEB].accepted.ok


def test_a_group_that_cannot_be_read_is_named_with_the_value() -> None:
    server = virtual_server(directorGroup="bad")
    accepted = verdict_of(virtual_servers=[server], groups=[BAD_GROUP]).accepted
    assert accepted.reason == Reason.DIRECTOR_GROUP_NOT_FOUND
    assert "gateway.addresses" in accepted.message
    assert "nonsense" in accepted.message
