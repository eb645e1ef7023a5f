"""Where kube-apiserver, etcd, kubectl and helm come from.

In this order: the folder that `KUBEBUILDER_ASSETS` names (all but helm), what is installed and works, and at
last a compilation from Go modules into a cache folder that every checkout on the machine shares.
"""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

from lab import gobuild
from lab.console import LabError

KUBERNETES = "v1.36.3"
HELM = "v3.22.0"
OLDEST_KUBECTL = 31
"""Minor version that a kubectl found on PATH must have: since 1.31 it can bind a token to a Node."""

_GIT = "k8s.io/component-base/version.git"
_KUBERNETES = gobuild.Source(
    "k8s.io/kubernetes",
    KUBERNETES,
    variables={f"{_GIT}Version": KUBERNETES, f"{_GIT}Major": "1", f"{_GIT}Minor": KUBERNETES.split(".")[1]},
)
SOURCES = {
    "kube-apiserver": replace(_KUBERNETES, package="k8s.io/kubernetes/cmd/kube-apiserver"),
    "kubectl": replace(_KUBERNETES, package="k8s.io/kubernetes/cmd/kubectl"),
    "helm": gobuild.Source(
        "helm.sh/helm/v3", HELM, "helm.sh/helm/v3/cmd/helm", {"helm.sh/helm/v3/internal/version.version": HELM}
    ),
}


def find(name: str) -> Path:
    """The program's path; compiles it when there is no other way (minutes, with visible progress)."""
    ready = _provided(name) or (_installed(name) if name != "kube-apiserver" else None)
    if ready is not None:
        return ready
    if name not in SOURCES:
        raise LabError(f"{name} not found - run: python3 -m lab setup")
    return gobuild.build(name, SOURCES[name])


def find_all() -> dict[str, Path]:
    return {name: find(name) for name in ("kube-apiserver", "etcd", "kubectl", "helm")}


def _provided(name: str) -> Path | None:
    """What `KUBEBUILDER_ASSETS` holds. A folder that was named but lacks the server is an error, not a hint."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder or name == "helm":
        return None
    program = Path(folder) / name
    if os.access(program, os.X_OK):
        return program
    if name == "kube-apiserver":
        raise LabError(f"KUBEBUILDER_ASSETS={folder} has no {name}; put it there or unset the variable")
    return None


def _installed(name: str) -> Path | None:
    """A program of the machine, only when it really runs: wrappers and broken links are common on PATH."""
    path = shutil.which(name)
    if path is None:
        return None
    usable = {"etcd": _any_answer, "kubectl": _recent_kubectl, "helm": _helm_3}[name]
    return Path(path) if usable(path) else None


def _any_answer(path: str) -> bool:
    return bool(_answer(path, "--version"))


def _recent_kubectl(path: str) -> bool:
    found = re.search(r"Client Version: v1\.(\d+)\.", _answer(path, "version", "--client"))
    return found is not None and int(found[1]) >= OLDEST_KUBECTL


def _helm_3(path: str) -> bool:
    return _answer(path, "version", "--short").startswith("v3.")


@cache  # asked for every kubectl command of a test
def _answer(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
