from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.worlds import REAL, FakeWorld, NetlinkWorld, World
from virtualserver.kernel.port import Kernel

collect_ignore_glob = [] if REAL else ["test_kernel_real*.py"]


@pytest.fixture
def world() -> Iterator[World]:
    world = NetlinkWorld() if REAL else FakeWorld()
    yield world
    world.close()


@pytest.fixture
def kernel(world: World) -> Kernel:
    return world.kernel
