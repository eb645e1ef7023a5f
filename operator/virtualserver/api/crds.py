"""The custom resource definitions: names, columns, subresources, and the YAML that is made from the models.

``python -m virtualserver.api.crds FOLDER...`` writes one file per kind into each folder. The same output goes
to ``crds/`` (for people and tools) and ``helm/virtualserver/crds/`` (what is installed); a test compares.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from virtualserver.api.base import GROUP, VERSION
from virtualserver.api.directorgroup import DirectorGroupSpec, DirectorGroupStatus
from virtualserver.api.schema import Schema, structural
from virtualserver.api.status import VirtualServerStatus
from virtualserver.api.virtualserver import VirtualServerSpec

HASH_ANNOTATION = f"{GROUP}/schema-hash"
"""Lets the chart's notes see that a cluster still has the definitions of another version."""

_HEADER = "# Made from operator/virtualserver/api by `make crds`; changes here are lost.\n"


@dataclass(frozen=True)
class Column:
    """One column of ``kubectl get``; ``priority`` 1 is shown only with ``-o wide``."""

    name: str
    path: str
    description: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True)
class Kind:
    """Everything about a kind that is not in its models."""

    name: str
    plural: str
    short: str
    scope: str
    description: str
    spec: type[BaseModel]
    status: type[BaseModel]
    columns: tuple[Column, ...]

    @property
    def full_name(self) -> str:
        """The definition's own name, such as ``virtualservers.virtualserver.dev``."""
        return f"{self.plural}.{GROUP}"


_AGE = Column("Age", ".metadata.creationTimestamp", "Time since it was created.", "date")
_DEGRADED = '.status.conditions[?(@.type=="Degraded")]'
_ACCEPTED = '.status.conditions[?(@.type=="Accepted")]'
_FAILOVER = ".status.lastFailover"
_AVAILABLE = '.status.conditions[?(@.type=="Available")]'

KINDS = (
    Kind(
        name="VirtualServer",
        plural="virtualservers",
        short="vs",
        scope="Namespaced",
        description=(
            "A virtual server: virtual addresses and ports, the real servers behind them, the monitors that know "
            "which of these are alive, and how clients are spread over them."
        ),
        spec=VirtualServerSpec,
        status=VirtualServerStatus,
        columns=(
            Column("Address", ".spec.addresses[0]", "The first virtual address."),
            Column("Mode", ".spec.forwarding.mode", "Forwarding mode."),
            Column("Real Servers", ".status.readyRealServers", "How many real servers are up, of how many."),
            Column("Director", ".status.activeDirector", "Node that serves the addresses now."),
            Column("Available", f"{_AVAILABLE}.status", "Whether clients are served."),
            Column("Reason", f"{_AVAILABLE}.reason", "Why it is available, or not."),
            _AGE,
            Column("All-Addresses", ".spec.addresses", "All virtual addresses.", priority=1),
            Column("Degraded", f"{_DEGRADED}.reason", "What preflight found first, or NoFinding.", priority=1),
            Column("Finding", f"{_DEGRADED}.message", "The same in words.", priority=1),
        ),
    ),
    Kind(
        name="DirectorGroup",
        plural="directorgroups",
        short="dg",
        scope="Cluster",
        description=(
            "Nodes that hold virtual addresses and balance their connections, and the networks that they join. "
            "VirtualServers name the group that serves them in spec.directorGroup."
        ),
        spec=DirectorGroupSpec,
        status=DirectorGroupStatus,
        columns=(
            Column("Interface", ".spec.interface", "Link towards the clients."),
            Column("Active", ".status.activeDirector", "Node that holds the virtual addresses."),
            Column("Standbys", ".status.standbys", "Nodes that can take over, the most preferred first."),
            Column("Last Failover", f"{_FAILOVER}.time", "When the addresses came to the active one.", "date"),
            Column("Why", f"{_FAILOVER}.reason", "Why they did."),
            Column("Degraded", f"{_DEGRADED}.reason", "What is wrong, or DirectorsReady."),
            _AGE,
            Column("Silent", f"{_FAILOVER}.silent", "How long nobody held them then, at most.", priority=1),
            Column("Message", f"{_FAILOVER}.message", "Why, in a sentence.", priority=1),
            Column("Accepted", f"{_ACCEPTED}.reason", "Accepted, or why it serves nothing.", priority=1),
        ),
    ),
)


def schema_of(kind: Kind) -> Schema:
    """Return the whole schema of a kind, as it stands under ``openAPIV3Schema``."""
    return {
        "description": kind.description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"Version of this API: {GROUP}/{VERSION}.", "type": "string"},
            "kind": {"description": f"Name of the kind: {kind.name}.", "type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(kind.spec),
            "status": structural(kind.status, defaults=False),
        },
    }


def definition(kind: Kind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of a kind."""
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in kind.columns],
        "schema": {"openAPIV3Schema": schema_of(kind)},
    }
    spec = {
        "group": GROUP,
        "scope": kind.scope,
        "names": {
            "kind": kind.name,
            "listKind": f"{kind.name}List",
            "plural": kind.plural,
            "singular": kind.name.lower(),
            "shortNames": [kind.short],
            "categories": ["virtualserver"],
        },
        "versions": [version],
    }
    digest = hashlib.sha256(json.dumps(spec).encode()).hexdigest()[:16]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.full_name, "annotations": {HASH_ANNOTATION: digest}},
        "spec": spec,
    }


def _column(column: Column) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "description": column.description,
        "jsonPath": column.path,
    }
    if column.priority:
        made["priority"] = column.priority
    return made


class _Dumper(yaml.SafeDumper):
    """Writes equal parts out in full instead of as references to each other."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        """Return True: no anchors."""
        return True


def _yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


def render() -> dict[str, str]:
    """Return file name -> YAML text of every kind."""
    return {f"{kind.plural}.yaml": _HEADER + _yaml(definition(kind)) for kind in KINDS}


def main(folders: list[str]) -> int:
    """Write the definitions into every folder and say where."""
    if not folders:
        print("usage: python -m virtualserver.api.crds FOLDER...", file=sys.stderr)
        return 2
    rendered = render()
    for folder in map(Path, folders):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in rendered.items():
            (folder / name).write_text(text, encoding="utf-8")
            print(folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
