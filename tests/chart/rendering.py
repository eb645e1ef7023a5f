"""Runs helm on the chart, apart from the person's own helm and cluster."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from lab import assets

CHECKOUT = Path(__file__).resolve().parents[2]
CHART = CHECKOUT / "helm" / "virtualserver"
NAMESPACE = "virtualserver-system"
Document = dict[str, Any]


def helm(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run helm with a home of its own; the caller looks at the exit code."""
    with tempfile.TemporaryDirectory() as home:
        homes = {f"HELM_{kind}_HOME": home for kind in ("CACHE", "CONFIG", "DATA")}
        return subprocess.run(
            [str(assets.find("helm")), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, **homes, "KUBECONFIG": "/dev/null"},
        )


def template(values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Render the chart with ``values``."""
    return helm(
        *("template", "virtualserver", str(CHART), "--namespace", NAMESPACE, "--include-crds"),
        *("--kube-version", assets.KUBERNETES),
        *(f"--set-json={name}={json.dumps(value)}" for name, value in (values or {}).items()),
    )


def documents(values: dict[str, Any] | None = None) -> list[Document]:
    """Return the rendered documents; fails the test when helm refuses."""
    done = template(values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.load_all(done.stdout, yaml.CSafeLoader) if document]


def one(found: list[Document], kind: str, name: str) -> Document:
    """Return the document of that kind and name."""
    chosen = [entry for entry in found if entry["kind"] == kind and entry["metadata"]["name"] == name]
    assert len(chosen) == 1, f"{len(chosen)} documents {kind}/{name}"
    return chosen[0]
