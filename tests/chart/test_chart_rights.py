"""What the chart grants: rights in the cluster as a literal table, and as little of each node as works."""

from __future__ import annotations

from typing import Any

import pytest

from chart.rendering import NAMESPACE, documents, one
from virtualserver.agent.settings import settings as agent_settings
from virtualserver.cluster.resources import EVENTS, WATCHED
from virtualserver.controller.settings import settings as controller_settings

READ = {
    ("virtualserver.dev", "virtualservers"),
    ("virtualserver.dev", "directorgroups"),
    ("", "nodes"),
    ("", "services"),
    ("discovery.k8s.io", "endpointslices"),
    ("networking.k8s.io", "servicecidrs"),
}
RIGHTS = {(group, resource, verb) for group, resource in READ for verb in ("get", "list", "watch")} | {
    ("events.k8s.io", "events", "create"),
    ("events.k8s.io", "events", "patch"),
    ("virtualserver.dev", "virtualservers/status", "patch"),
    ("virtualserver.dev", "directorgroups/status", "patch"),
}
OPERATOR = {("virtualserver.dev", "directorgroups", verb) for verb in ("get", "list", "watch")} | {
    ("virtualserver.dev", "directorgroups/status", "patch")
}
GRANTED = {"controller": RIGHTS, "agent": RIGHTS, "operator": OPERATOR}
COMPONENTS = ["agent", "controller"]


def _pod(kind: str, component: str) -> Any:
    return one(documents(), kind, f"virtualserver-{component}")["spec"]["template"]["spec"]


@pytest.mark.parametrize("component", sorted(GRANTED))
def test_the_role_grants_exactly_the_table(component: str) -> None:
    rules = one(documents(), "ClusterRole", f"virtualserver-{component}")["rules"]
    assert all(set(rule) == {"apiGroups", "resources", "verbs"} for rule in rules)
    granted = {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == GRANTED[component]
    assert not [right for right in granted if "*" in right or "secrets" in right[1] or right[2] in ("bind", "escalate")]


def test_the_table_is_what_the_program_watches_and_writes() -> None:
    assert {(resource.group, resource.plural) for resource in WATCHED} == READ
    assert (EVENTS.group, EVENTS.plural) == ("events.k8s.io", "events")


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_role_is_bound_to_its_own_account_only(component: str) -> None:
    found = documents()
    name = f"virtualserver-{component}"
    account = one(found, "ServiceAccount", name)
    binding = one(found, "ClusterRoleBinding", name)
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]
    assert account["metadata"]["namespace"] == NAMESPACE
    bindings = {entry["metadata"]["name"] for entry in found if entry["kind"].endswith("RoleBinding")}
    assert bindings == {f"virtualserver-{one}" for one in COMPONENTS}
    kind = {"controller": "Deployment", "agent": "DaemonSet"}[component]
    assert _pod(kind, component)["serviceAccountName"] == name


def test_the_controller_has_no_rights_on_its_node() -> None:
    pod = _pod("Deployment", "controller")
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers"} & set(pod)
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["args"] == ["controller"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "health"}
    assert container["ports"] == [{"name": "health", "containerPort": 8081}]


def test_agent_and_keepalived_have_few_capabilities_and_four_paths_of_their_node() -> None:
    pod = _pod("DaemonSet", "agent")
    assert pod["hostNetwork"] is True
    assert not {"hostPID", "hostIPC", "initContainers"} & set(pod)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["priorityClassName"] == "system-node-critical"
    container, keepalived = pod["containers"]
    capabilities = ["NET_ADMIN", "NET_RAW"]
    for one_of_two, command, added in ((container, "agent", []), (keepalived, "keepalived", ["SYS_NICE"])):
        assert one_of_two["args"] == [command]
        security = one_of_two["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"], "add": [*capabilities, *added]}
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert not security.get("privileged")
    assert _mounted(pod, container) == {
        "/var/lib/virtualserver": "/var/lib/virtualserver",
        "/host/proc/sys/net": "/proc/sys/net",
        "/run/xtables.lock": "/run/xtables.lock",
        "/run/virtualserver": "/run/virtualserver",
    }
    assert _mounted(pod, keepalived) == {"/run/virtualserver": "/run/virtualserver"}
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "health"}


def _mounted(pod: Any, container: Any) -> dict[str, str]:
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"]}
    return {mount["mountPath"]: paths[mount["name"]] for mount in container["volumeMounts"]}


def test_the_programs_understand_their_environment() -> None:
    environments = {}
    for kind, component in (("Deployment", "controller"), ("DaemonSet", "agent")):
        entries = _pod(kind, component)["containers"][0]["env"]
        environments[component] = {entry["name"]: entry.get("value", "192.0.2.1") for entry in entries}
    assert set(environments["controller"]) == {"HEALTH_ADDRESS", "HEALTH_PORT", "AGENT_PORT"}
    assert controller_settings(environments["controller"]).agent_port == 9440
    told = agent_settings(environments["agent"])
    assert (told.node, told.health_address, told.health_port) == ("192.0.2.1", "192.0.2.1", 9440)
    assert str(told.proc_sys / "net") == "/host/proc/sys/net"
    assert str(told.state_dir) == "/var/lib/virtualserver"
    keepalived = _pod("DaemonSet", "agent")["containers"][1]
    assert {entry["name"]: entry["value"] for entry in keepalived["env"]} == {"RUN_DIR": str(told.run_dir)}
