"""One API server for the tests of this folder that need the chart's rights and nothing else of a lab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.bench import Bench
from lab import chart
from lab.apiserver import ApiServer

CHART = Path(__file__).resolve().parents[2] / "helm" / "virtualserver"


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server with the chart's definitions, accounts and rights."""
    folder = tmp_path_factory.mktemp("api")
    with ApiServer(folder) as server:
        chart.apply(server, CHART, folder / "helm")
        yield server


@pytest.fixture
def bench(running: ApiServer, tmp_path: Path) -> Iterator[Bench]:
    """The server, empty of our objects, with short ways to make and read some."""
    running.start()
    made = Bench(running, tmp_path)
    made.clear()
    yield made
    running.start()
    made.clear()
