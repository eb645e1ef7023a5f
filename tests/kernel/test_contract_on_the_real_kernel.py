"""The contract suite again, unchanged, against the kernel of the lab: what the fake refuses, it refuses."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from lab.lab import Lab

ROOT = Path(__file__).resolve().parents[2]


def test_the_real_kernel_keeps_the_contract_that_the_fake_keeps(lab: Lab) -> None:
    report = lab.folder / "logs" / "contract.xml"
    command = (
        "ip netns add contract; ip netns exec contract ip link set lo up; "
        f"cd {ROOT} && VS_CONTRACT=netlink ip netns exec contract {sys.executable} -m pytest tests/contract -q "
        f"-p no:cacheprovider --junitxml={report} -o addopts='--import-mode=importlib'; "
        "code=$?; ip netns del contract; exit $code"
    )
    done = lab.guest.run(command, timeout=560, check=False)
    assert done.code == 0, done.out[-6000:] + done.err[-2000:]
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    ran, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    print(f"{ran} contract tests on the real kernel, {skipped} skipped")
    assert ran > 20
    assert skipped == 0, "a part of the contract was not tried on the real kernel"
