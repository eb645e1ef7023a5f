"""docs/real-servers.md, word by word: each command on its host, and what it prints."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from e2e.pages import DOCS, steps
from e2e.world import Cluster
from lab.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "machines.yaml"
HOSTS = ("rs-1", "rs-2")


def run(lab: Lab, host: str, command: str) -> list[str]:
    """Run with a /var/lib of the host's own: hosts of a guest share its files, which cannot be written."""
    program = f'virtualserver() {{ {sys.executable} -m virtualserver "$@"; }}'
    folder = f"/run/page-{host}"
    inside = f"mkdir -p {folder} && mount --bind {folder} /var/lib && {{ {program}; {command}; }}"
    return lab.host(host).run(f"unshare -m sh -c {shlex.quote(inside)}", check=False).out.splitlines()


@pytest.fixture
def tidied(lab: Lab) -> Iterator[None]:
    yield
    for host in HOSTS:
        run(lab, host, "virtualserver real-server remove")


def test_the_page_says_what_happens(cluster: Cluster, tidied: None) -> None:
    listed = list(steps(DOCS / "real-servers.md"))
    assert len(listed) > 10
    for host, command, printed in listed:
        if host == "client":
            cluster.serve(yaml.safe_load(EXAMPLE.read_text()), "2/2")
        assert run(cluster.lab, host, command) == printed, f"{host}: {command}"
