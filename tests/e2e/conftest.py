"""What end-to-end tests use: virtual servers applied as a person would, and waits that end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.pair import Pair
from e2e.world import Cluster
from lab import names
from lab.lab import Lab


@pytest.fixture
def cluster(lab: Lab) -> Iterator[Cluster]:
    """The lab as its user sees it; what a test applied is deleted after it, and the hosts are put right."""
    made = Cluster(lab)
    try:
        yield made
    finally:
        made.tidy()


@pytest.fixture(scope="session")
def three() -> Iterator[Lab]:
    """A second lab, whose directors are machines of their own; it goes with the last test that uses it."""
    with Lab(names.beside(names.of_tests(), "three"), topology="three", quiet=True) as made:
        yield made


READY = pytest.StashKey[bool]()
"""Whether the second lab was ready again after the last test; not there before the first, when nothing is served."""


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


@pytest.fixture
def bare(three: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The second lab, for a test that sets up its own virtual servers and clears them away."""
    stash = request.session.stash
    if not stash.get(READY, True):
        three.down()
        three.up()
    yield three
    if READY in stash:
        del stash[READY]  # whether it serves as before, the next test finds out


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Any:
    """The second lab would hold up all tests that come after its last; one that is run again gets a new one."""
    made = getattr(item, "funcargs", {}).get("three")
    done = yield
    if made is not None and "three" not in getattr(nextitem, "fixturenames", ()):
        made.down()
        item.session.stash[READY] = False
    return done
