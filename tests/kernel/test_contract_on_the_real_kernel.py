"""The contract suite again, unchanged, against the kernel of the lab: what the fake refuses, it refuses.

Then real traffic through nodes that were set up by the same means. A guest has one processor: the suites run in two.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
APART = {name: f"tests/contract/test_kernel_real_{name}.py" for name in ("forwarding", "mirroring", "sync")}
OTHERS = f"tests/contract {' '.join(f'--ignore={one}' for one in APART.values())}"
Run = Callable[[str], int]


@pytest.fixture(scope="module")
def run(three: Lab) -> Iterator[Run]:
    """Return how many tests of a suite ran; all suites begin with the first that is asked for.

    None of their tests may fail or be skipped. A suite that failed begins again when it is asked for again.
    """
    suites: dict[str, Future[tuple[int, str]]] = {}
    failed: set[str] = set()
    one, other = ThreadPoolExecutor(1), ThreadPoolExecutor(1)

    def begin(name: str) -> None:
        pool, host = (other, "director-1") if name in APART else (one, "director-2")
        suites[name] = pool.submit(_run_inside, three, host, name, APART.get(name, OTHERS))

    def result(name: str) -> int:
        try:
            ran, figures = suites[name].result()
        except Exception:
            if name not in failed:
                failed.add(name)
                begin(name)
            raise
        print(figures)
        return ran

    try:
        for name in ("contract", *APART):
            begin(name)
        yield result
    finally:  # after Ctrl-C suites run on until their guests are gone, which is next
        for pool in (one, other):
            pool.shutdown(wait=False, cancel_futures=True)


def test_the_real_kernel_keeps_the_contract_that_the_fake_keeps(run: Run) -> None:
    assert run("contract") > 20


def test_real_traffic_takes_the_ways_that_the_kernel_was_set_up_for(run: Run) -> None:
    assert run("forwarding") > 10


def test_connections_go_on_at_another_director(run: Run) -> None:
    assert run("mirroring") > 5


def test_the_kernel_mirrors_as_we_count_on_it(run: Run) -> None:
    assert run("sync") > 5


def _run_inside(lab: Lab, host: str, name: str, tests: str) -> tuple[int, str]:
    """Run tests in a namespace of a guest; return how many ran, and their figures."""
    report = lab.folder / "logs" / f"{name}.xml"
    command = (
        f"ip netns add {name}; ip netns exec {name} ip link set lo up; "
        f"cd {ROOT} && VS_CONTRACT=netlink ip netns exec {name} {sys.executable} -m pytest {tests} -q "
        f"-p no:cacheprovider --junitxml={report} -o junit_family=xunit1 -o addopts='--import-mode=importlib'; "
        f"code=$?; ip netns del {name}; exit $code"
    )
    done = lab.guest_of(host).host().run(command, timeout=1500, check=False)
    assert done.code == 0, done.out[-6000:] + done.err[-2000:]
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    ran, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    assert skipped == 0, "a part was not tried on the real kernel"
    figures = [f"{one.attrib['name']} {one.attrib['value']}" for one in suite.iter("property")]
    return ran, "\n".join([*figures, f"{ran} tests of {name} on the real kernel, {skipped} skipped"])
