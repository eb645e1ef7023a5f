"""The contract suite again, unchanged, against the kernel of the lab: what the fake refuses, it refuses.

Then real traffic through nodes that were set up by the same means.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from lab.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
FORWARDING = "tests/contract/test_kernel_real_forwarding.py"
MIRRORING = "tests/contract/test_kernel_real_mirroring.py"
SYNC = "tests/contract/test_kernel_real_sync.py"


def test_the_real_kernel_keeps_the_contract_that_the_fake_keeps(lab: Lab) -> None:
    others = " ".join(f"--ignore={one}" for one in (FORWARDING, MIRRORING, SYNC))
    assert run_inside(lab, "contract", f"tests/contract {others}") > 20


def test_real_traffic_takes_the_ways_that_the_kernel_was_set_up_for(lab: Lab) -> None:
    assert run_inside(lab, "forwarding", FORWARDING) > 10


def test_connections_go_on_at_another_director(lab: Lab) -> None:
    assert run_inside(lab, "mirroring", MIRRORING) > 5


def test_the_kernel_mirrors_as_we_count_on_it(lab: Lab) -> None:
    assert run_inside(lab, "sync", SYNC) > 5


def run_inside(lab: Lab, name: str, tests: str) -> int:
    """Run tests in a namespace of the guest, print their figures; return how many ran. None may fail or be skipped.

    One that fails is run once more, as everywhere where machines share a processor, and not all that is in its file.
    """
    report = lab.folder / "logs" / f"{name}.xml"
    command = (
        f"ip netns add {name}; ip netns exec {name} ip link set lo up; "
        f"cd {ROOT} && VS_CONTRACT=netlink ip netns exec {name} {sys.executable} -m pytest {tests} -q -rR --reruns 1 "
        f"-p no:cacheprovider --junitxml={report} -o junit_family=xunit1 -o addopts='--import-mode=importlib'; "
        f"code=$?; ip netns del {name}; exit $code"
    )
    done = lab.guest.run(command, timeout=1500, check=False)
    assert done.code == 0, done.out[-6000:] + done.err[-2000:]
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    ran, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    for figure in suite.iter("property"):
        print(figure.attrib["name"], figure.attrib["value"])
    again = [line for line in done.out.splitlines() if line.startswith("RERUN")]
    print(*again, f"{ran} tests of {name} on the real kernel, {skipped} skipped", sep="\n")
    assert skipped == 0, "a part was not tried on the real kernel"
    return ran
