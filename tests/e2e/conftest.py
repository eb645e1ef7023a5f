"""What end-to-end tests use: virtual servers applied as a person would, and waits that end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.world import Cluster
from lab.lab import Lab


@pytest.fixture
def cluster(lab: Lab) -> Iterator[Cluster]:
    """The lab as its user sees it; what a test applied is deleted after it, and the hosts are put right."""
    made = Cluster(lab)
    try:
        yield made
    finally:
        made.tidy()
