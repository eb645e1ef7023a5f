"""The chart on a real API server: installed, its rights tried out, uninstalled. No kubelet runs its pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from chart.rendering import CHART, CHECKOUT, NAMESPACE, documents, helm
from chart.test_chart_rights import GRANTED
from lab import ApiServer

OPERATOR = "virtualserver-operator"
GROUP = {"name": "edge", "spec": {"nodeSelector": {"edge": "true"}, "interface": "eth0"}}
WEB = yaml.safe_load((CHECKOUT / "examples" / "web.yaml").read_text())


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("chart")) as ready:
        ready.kubectl("create", "namespace", NAMESPACE)
        for node in ("node-1", "node-2"):
            ready.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Node"} | _named(node)))
        yield ready


@pytest.fixture(scope="module")
def installed(api: ApiServer) -> Iterator[ApiServer]:
    done = _helm(api, "install", str(CHART), f"--set-json=directorGroups={json.dumps([GROUP])}")
    assert done[0] == 0, done[1]
    # The chart binds this role to nobody: it is for people.
    api.kubectl("create", "serviceaccount", OPERATOR, "-n", NAMESPACE)
    bound = (f"--clusterrole={OPERATOR}", f"--serviceaccount={NAMESPACE}:{OPERATOR}")
    api.kubectl("create", "clusterrolebinding", "people", *bound)
    yield api
    _helm(api, "uninstall", "--ignore-not-found")


def _named(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


def _helm(api: ApiServer, command: str, *arguments: str) -> tuple[int, str]:
    where = ("--namespace", NAMESPACE, "--kubeconfig", str(api.kubeconfig))
    done = helm(command, "virtualserver", *arguments, *where)
    return done.returncode, done.stdout + done.stderr


def test_install_creates_everything_and_says_what_comes_next(installed: ApiServer) -> None:
    kinds = "deployments,daemonsets,serviceaccounts"
    shown = installed.kubectl("get", kinds, "-n", NAMESPACE, "-o", "name").stdout
    assert "deployment.apps/virtualserver-controller" in shown
    assert "daemonset.apps/virtualserver-agent" in shown
    assert "serviceaccount/virtualserver-agent" in shown
    assert "directorgroup.virtualserver.dev/edge" in installed.kubectl("get", "dg", "-o", "name").stdout
    upgraded = _helm(installed, "upgrade", str(CHART), "--reset-values")
    assert upgraded[0] == 0, upgraded[1]
    assert "pod-security.kubernetes.io/enforce=privileged" in upgraded[1]
    assert "There is no DirectorGroup yet" in upgraded[1]
    assert "WARNING" not in upgraded[1]
    assert "edge" not in installed.kubectl("get", "dg", "-o", "name").stdout


def test_every_document_passes_a_strict_dry_run_of_the_server(installed: ApiServer) -> None:
    values = {"directorGroups": [GROUP], "agent.nodeSelector": {"a": "b"}, "labels": {"team": "network"}}
    text = yaml.safe_dump_all(documents(values))
    arguments = ("--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict")
    shown = installed.kubectl("apply", *arguments, "-f", "-", input=text).stdout
    assert len(shown.splitlines()) == len(documents(values))


def test_old_definitions_in_the_cluster_are_reported(installed: ApiServer) -> None:
    name = "virtualservers.virtualserver.dev"
    installed.kubectl("annotate", "crd", name, "--overwrite", "virtualserver.dev/schema-hash=older")
    shown = _helm(installed, "upgrade", str(CHART))[1]
    assert f"WARNING: {name} in the cluster is of another version" in shown
    crds = helm("show", "crds", str(CHART)).stdout
    installed.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=crds)
    assert "WARNING" not in _helm(installed, "upgrade", str(CHART))[1]


@pytest.mark.parametrize("component", sorted(GRANTED))
def test_the_server_grants_what_the_table_says_and_no_more(installed: ApiServer, component: str) -> None:
    account = f"system:serviceaccount:{NAMESPACE}:virtualserver-{component}"
    shown = installed.kubectl("auth", "can-i", "--list", "--as", account, "--no-headers").stdout
    granted = set()
    for line in shown.splitlines():
        resource, verbs = line.split()[0], line[line.rindex("[") + 1 : line.rindex("]")].split()
        if resource.startswith("["):
            continue  # URLs that everybody may read
        plural, _, group = resource.partition(".")
        plural, _, subresource = resource.partition("/") if "/" in resource else (plural, "", "")
        if subresource:
            plural, _, group = plural.partition(".")
            plural = f"{plural}/{subresource}"
        granted |= {(group, plural, verb) for verb in verbs}
    everybodys = {right for right in granted if right[0] in ("authorization.k8s.io", "authentication.k8s.io")}
    assert granted - everybodys == GRANTED[component]


def test_uninstall_keeps_the_definitions_and_what_people_wrote(installed: ApiServer) -> None:
    installed.kubectl("apply", "-f", "-", input=json.dumps(WEB))
    assert _helm(installed, "uninstall")[0] == 0
    shown = installed.kubectl("get", "deployments,daemonsets,clusterroles,clusterrolebindings", "-A", "-o", "name")
    assert "virtualserver-" not in shown.stdout
    assert "web" in installed.kubectl("get", "vs", "-o", "name").stdout
    assert _helm(installed, "install", str(CHART))[0] == 0, "and it can be installed again"
