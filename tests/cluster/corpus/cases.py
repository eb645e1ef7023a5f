"""Reads the corpus: every case as one value, its manifest complete."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A manifest, and what its refusal must say (``field`` is empty for a good one)."""

    group: str
    name: str
    manifest: Manifest
    field: str
    words: str
    messages: int

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


@cache
def base(name: str) -> Manifest:
    """Return a complete, valid manifest of the folder ``base``."""
    loaded: Manifest = yaml.safe_load((HERE / "base" / name).read_text())
    return loaded


def cases(prefix: str) -> list[Case]:
    """Return all cases of the files whose name begins with ``prefix`` (good or bad)."""
    found = []
    for path in sorted(HERE.glob(f"{prefix}-*.yaml")):
        loaded = yaml.load(path.read_text(), yaml.CSafeLoader)
        found += [_case(path.stem, loaded["base"], entry) for entry in loaded["cases"]]
    return found


def _case(group: str, base_name: str, entry: dict[str, Any]) -> Case:
    known = {"name", "set", "unset", "many", "field", "words", "messages"}
    assert set(entry) <= known, f"{group}: {entry['name']}: unknown keys {set(entry) - known}"
    manifest = copy.deepcopy(base(base_name))
    for path, value in entry.get("set", {}).items():
        put(manifest, path, value)
    for path in entry.get("unset", []):
        *parents, last = path.split(".")
        del _at(manifest, parents)[last]
    for path, many in entry.get("many", {}).items():
        put(manifest, path, [_numbered(many["of"], number) for number in range(1, many["count"] + 1)])
    return Case(
        group, entry["name"], manifest, entry.get("field", ""), entry.get("words", ""), entry.get("messages", 1)
    )


def put(manifest: Manifest, path: str, value: Any) -> None:
    """Set what stands at a dotted path; numbers in it go into lists."""
    *parents, last = path.split(".")
    parent = _at(manifest, parents)
    parent[int(last) if isinstance(parent, list) else last] = copy.deepcopy(value)


def _at(manifest: Manifest, path: list[str]) -> Any:
    place: Any = manifest
    for step in path:
        place = place[int(step)] if isinstance(place, list) else place[step]
    return place


def _numbered(template: Any, number: int) -> Any:
    if isinstance(template, dict):
        return {name: _numbered(member, number) for name, member in template.items()}
    if not isinstance(template, str):
        return template
    if template == "{n}":
        return number
    return template.format(n=number, high=number // 256, low=number % 256)
