"""The chart: it renders, refuses typos, grants exactly the rights in this table, and installs on a real API server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import assets
from lab.apiserver import ApiServer

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "virtualserver"
READ = {"get", "list", "watch"}
COMMON = {
    ("virtualserver.dev", "virtualservers"): READ,
    ("virtualserver.dev", "directorgroups"): READ,
    ("", "nodes"): READ,
    ("", "services"): READ,
    ("discovery.k8s.io", "endpointslices"): READ,
    ("networking.k8s.io", "servicecidrs"): READ,
    ("virtualserver.dev", "virtualservers/status"): {"patch"},
    ("events.k8s.io", "events"): {"create", "patch"},
}
RIGHTS = {
    "virtualserver-controller": COMMON | {("virtualserver.dev", "directorgroups/status"): {"patch"}},
    "virtualserver-agent": COMMON,
}


def helm(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(assets.find("helm")), *arguments], capture_output=True, text=True, timeout=120)
    if check:
        assert done.returncode == 0, done.stderr + done.stdout
    return done


def documents(*sets: str) -> list[dict[str, Any]]:
    flags = [word for one in sets for word in ("--set", one)]
    text = helm(
        "template",
        "vs",
        str(CHART),
        "--kube-version",
        "1.36.3",
        "--namespace",
        "virtualserver-system",
        "--include-crds",
        *flags,
    ).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def one(kind: str, name: str, *sets: str) -> dict[str, Any]:
    return next(d for d in documents(*sets) if d["kind"] == kind and d["metadata"]["name"] == name)


def test_helm_lint_has_nothing_to_say() -> None:
    helm("lint", "--strict", str(CHART))


@pytest.mark.parametrize("account", RIGHTS)
def test_each_account_has_exactly_the_rights_in_the_table(account: str) -> None:
    granted: dict[tuple[str, str], set[str]] = {}
    for rule in one("ClusterRole", account)["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                granted.setdefault((group, resource), set()).update(rule["verbs"])
    assert granted == RIGHTS[account]


def test_the_chart_brings_the_generated_definitions() -> None:
    rendered = {d["metadata"]["name"]: d["spec"] for d in documents() if d["kind"] == "CustomResourceDefinition"}
    generated = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml")]
    assert rendered == {d["metadata"]["name"]: d["spec"] for d in generated}


def test_the_agent_is_not_privileged_and_has_two_capabilities() -> None:
    pod = one("DaemonSet", "virtualserver-agent")["spec"]["template"]["spec"]
    assert pod["hostNetwork"] is True
    security = pod["containers"][0]["securityContext"]
    assert set(security["capabilities"]["add"]) == {"NET_ADMIN", "NET_RAW"}
    assert security["capabilities"]["drop"] == ["ALL"]
    assert not security.get("privileged")
    assert security["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("setting", ["imagee.tag=1", "image.pullPolicy=Sometimes", "agent.healthPort=0x"])
def test_a_typo_or_a_wrong_value_is_refused_and_named(setting: str) -> None:
    done = helm("template", "vs", str(CHART), "--kube-version", "1.36.3", "--set", setting, check=False)
    assert done.returncode != 0
    name = setting.split("=")[0].split(".")[-1]
    assert name in done.stderr or setting.split(".")[0] in done.stderr


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api")) as made:
        yield made


def test_it_installs_and_uninstalls_on_a_real_api_server(api: ApiServer) -> None:
    where = ["--kubeconfig", str(api.kubeconfig), "--namespace", "virtualserver-system"]
    helm("install", "vs", str(CHART), "--create-namespace", *where)
    listed = api.kubectl("get", "deployments,daemonsets,serviceaccounts,crds", "-A", "-o", "name").stdout
    for name in ("virtualserver-controller", "virtualserver-agent", "virtualservers.virtualserver.dev"):
        assert name in listed
    helm("uninstall", "vs", *where)
    left = api.kubectl("get", "deployments,daemonsets", "-A", "-o", "name").stdout
    assert "virtualserver" not in left
