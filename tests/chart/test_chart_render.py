"""The chart as helm renders it: values that reach their place, values that are refused, what pods may do."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from chart.rendering import CHART, CHECKOUT, NAMESPACE, documents, helm, one, template
from virtualserver import __version__
from virtualserver.api.crds import KINDS, schema_of

SPEC = {"nodeSelector": {"edge": "true"}, "interface": "eth0"}
GROUP = {"name": "edge", "spec": SPEC}
TOLERATION = {"key": "director", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
MATRIX: list[dict[str, Any]] = [
    {},
    {"image": {"repository": "registry.example/vs", "tag": "1.2.3", "pullPolicy": "Always"}},
    {"labels": {"team": "network"}},
    {"controller.resources": {}, "agent.resources": {"limits": {"cpu": 1, "memory": "1Gi"}}},
    {"keepalived.resources": {"limits": {"memory": "64Mi"}}},
    {"agent.nodeSelector": {"virtualserver.dev/director": "true"}, "agent.tolerations": [TOLERATION]},
    {"agent.tolerations": [], "agent.healthPort": 19440},
    {"directorGroups": [GROUP, {**GROUP, "name": "core"}]},
    {"global": {"of": "a parent chart"}},
]


def test_helm_lint_has_nothing_to_say() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


@pytest.mark.parametrize("values", MATRIX, ids=lambda values: ",".join(values) or "defaults")
def test_values_render_to_unique_objects_in_the_namespace(values: dict[str, Any]) -> None:
    found = documents(values)
    names = [(entry["kind"], entry["metadata"]["name"]) for entry in found]
    assert len(set(names)) == len(names)
    assert "Namespace" not in {kind for kind, _ in names}, "the namespace is the person's own"
    assert {entry["metadata"].get("namespace", NAMESPACE) for entry in found} == {NAMESPACE}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"imagee": {}}, "imagee"),
        ({"image.tagg": "1"}, "tagg"),
        ({"image.tag": 1}, "string"),
        ({"image.repository": ""}, "repository"),
        ({"image.pullPolicy": "Sometimes"}, "pullPolicy"),
        ({"agent.healthPort": "9440"}, "healthPort"),
        ({"agent.healthPort": 0}, "healthPort"),
        ({"agent.minReadySeconds": -1}, "minReadySeconds"),
        ({"agent.healthPort": 65536}, "healthPort"),
        ({"agent.nodeSelector": {"a": True}}, "nodeSelector"),
        ({"agent.tolerations": {"operator": "Exists"}}, "tolerations"),
        ({"agent.tolerations": [{"operater": "Exists"}]}, "operater"),
        ({"agent.seLinuxOptions": {"level": 0}}, "seLinuxOptions"),
        ({"image.pullSecrets": [{"name": "ours"}]}, "pullSecrets"),
        ({"agent.replicas": 3}, "replicas"),
        ({"controller.replicas": 3}, "replicas"),
        ({"controller.resources.limit": {}}, "limit"),
        ({"keepalived.resources.limit": {}}, "limit"),
        ({"labels": {"a": 1}}, "labels"),
        ({"directorGroups": {"name": "x"}}, "directorGroups"),
        ({"directorGroups": [{"name": "x"}]}, "spec"),
        ({"directorGroups": [{**GROUP, "name": "Edge"}]}, "name"),
        ({"directorGroups": [{"name": "x", "spec": {"interface": "eth0"}}]}, "nodeSelector"),
        ({"directorGroups": [{"name": "x", "spec": {**SPEC, "gateways": {}}}]}, "gateways"),
    ],
    ids=str,
)
def test_a_misspelt_or_wrong_value_is_refused_by_name(values: dict[str, Any], words: str) -> None:
    done = template(values)
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr
    assert words in done.stderr


def test_every_value_of_the_schema_is_documented_and_the_groups_follow_the_api() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) - {"global"} == set(values)
    group = next(kind for kind in KINDS if kind.name == "DirectorGroup")
    spec = schema_of(group)["properties"]["spec"]
    ours = schema["definitions"]["directorGroup"]["properties"]["spec"]
    assert set(ours["properties"]) == set(spec["properties"])
    assert set(ours["required"]) == set(spec["required"])


def test_definitions_and_version_are_those_of_the_program() -> None:
    found = documents()
    for path in (CHECKOUT / "crds").glob("*.yaml"):
        expected = yaml.safe_load(path.read_text())
        assert one(found, "CustomResourceDefinition", expected["metadata"]["name"]) == expected
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


def test_values_reach_their_places() -> None:
    image = {"repository": "registry.example/vs", "tag": "1.2.3", "pullPolicy": "Always", "pullSecrets": ["ours"]}
    label = {"type": "spc_t", "level": "s0"}
    found = documents(
        {
            "image": image,
            "labels": {"team": "network"},
            "agent.healthPort": 19440,
            "agent.nodeSelector": {"a": "b"},
            "agent.tolerations": [TOLERATION],
            "agent.seLinuxOptions": label,
            "directorGroups": [GROUP],
        }
    )
    assert one(found, "DirectorGroup", "edge")["spec"] == SPEC
    ours = [entry for entry in found if entry["kind"] != "CustomResourceDefinition"]
    assert all(entry["metadata"]["labels"]["team"] == "network" for entry in ours)
    controlling = one(found, "Deployment", "virtualserver-controller")["spec"]["template"]["spec"]
    controller = controlling["containers"][0]
    pod = one(found, "DaemonSet", "virtualserver-agent")["spec"]["template"]["spec"]
    assert controlling["imagePullSecrets"] == pod["imagePullSecrets"] == [{"name": "ours"}]
    assert pod["securityContext"]["seLinuxOptions"] == label
    agent, keepalived = pod["containers"]
    for container in (controller, agent, keepalived):
        assert container["image"] == "registry.example/vs:1.2.3"
        assert container["imagePullPolicy"] == "Always"
    assert (pod["nodeSelector"], pod["tolerations"]) == ({"a": "b"}, [TOLERATION])
    assert agent["ports"] == [{"name": "health", "containerPort": 19440, "hostPort": 19440}]
    environment = {entry["name"]: entry.get("value") for entry in controller["env"] + agent["env"]}
    assert environment["AGENT_PORT"] == environment["HEALTH_PORT"] == "19440"
