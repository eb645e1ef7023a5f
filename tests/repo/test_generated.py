"""What is generated equals what the generator makes now; `make crds` mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtualserver.api.crds import render

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("folder", ["crds", "helm/virtualserver/crds"])
def test_definitions_are_up_to_date(folder: str) -> None:
    for name, text in render().items():
        assert (ROOT / folder / name).read_text() == text, f"{folder}/{name} is old; run: make crds"
    assert {path.name for path in (ROOT / folder).iterdir()} == set(render())
