"""A lab of the tests' own, so that a person's lab and the one of the other tests are left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labtests.drive import OwnLab, own_lab


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnLab]:
    """One that is down, and is down again afterwards."""
    with own_lab(tmp_path) as made:
        yield made
