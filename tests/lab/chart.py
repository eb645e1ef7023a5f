"""Apply the project's Helm chart as far as a cluster without kubelets can run it.

The chart is the only source of the custom resources and of the rights that controller and agents get, so what
is tested here is what users install. Deployments and DaemonSets are left out: the lab starts those programs.
"""

import subprocess
from pathlib import Path
from typing import Any

from lab import assets, processes
from lab.apiserver import ApiServer
from lab.console import LabError

NAMESPACE = "virtualserver-system"
RELEASE = "virtualserver"
RUNNABLE = {
    "CustomResourceDefinition",
    "Namespace",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


def render(chart: Path, scratch: Path) -> list[dict[str, Any]]:
    """All documents of the chart with its default values; `scratch` is the lab's folder, or stands for it."""
    import yaml  # only here: the rest of the lab runs without third-party modules

    command = [str(assets.find("helm")), "template", RELEASE, str(chart), "--namespace", NAMESPACE, "--include-crds"]
    homes = {f"HELM_{kind}_HOME": str(scratch / "helm") for kind in ("CACHE", "CONFIG", "DATA")}
    done = subprocess.run(
        [*command, "--kube-version", assets.KUBERNETES],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**processes.environment(scratch), **homes},
    )
    if done.returncode != 0:
        raise LabError(f"helm template {chart}: {done.stderr.strip()}")
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def apply(api: ApiServer, chart: Path, scratch: Path) -> list[str]:
    """Apply what can run and wait until the custom resources are served; returns what was applied."""
    import yaml

    runnable = [document for document in render(chart, scratch) if document["kind"] in RUNNABLE]
    definitions = [document for document in runnable if document["kind"] == "CustomResourceDefinition"]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    rest = [document for document in runnable if document not in definitions]
    manifests = yaml.safe_dump_all([namespace, *definitions, *rest])
    api.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=manifests)
    if definitions:
        names = [f"crd/{document['metadata']['name']}" for document in definitions]
        api.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    return [f"{document['kind']}/{document['metadata']['name']}" for document in runnable]
