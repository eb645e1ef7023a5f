"""What end-to-end tests use: virtual servers applied as a person would, and waits that end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.pair import Pair
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


READY = pytest.StashKey[bool]()
"""Whether the second lab was ready again after the last test; before the first, nothing is served."""


@pytest.fixture
def pair(three: Lab, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two directors, one active and one standby, that serve; after the test they do so again.

    Where they do not, that fails one test and not all that follow: the next one gets a new lab.
    """
    made, stash = Pair(three), request.session.stash
    if not stash.get(READY, True):
        three.down()
        three.up()
    if not stash.get(READY, False):
        made.prepare()
    stash[READY] = False
    made.ready()
    stash[READY] = True
    yield made
    made.heal()
