"""The page of each mode, word by word: NAT, Tunnel, Direct Routing."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest
import yaml

from e2e.pages import DOCS, HERE, steps
from e2e.world import Cluster, eventually
from lab import assets
from lab.guest import CHECKOUT
from lab.lab import Lab

PAGES = {"NAT": "nat.md", "Tunnel": "tunnel.md", "DirectRouting": "direct-routing.md"}
EXAMPLES = ("web", "same-subnet", "tunnel", "direct-routing")
SECONDS = 90.0


def run(lab: Lab, host: str, command: str) -> list[str]:
    """What a person sees, without blanks at the ends of lines."""
    if host == HERE:
        kubectl = shlex.quote(str(assets.find("kubectl")))
        text = subprocess.run(
            ["bash", "-c", f'kubectl() {{ {kubectl} "$@"; }}; {command}'],
            cwd=CHECKOUT,
            env=os.environ | {"KUBECONFIG": str(lab.folder / "kubeconfig")},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        ).stdout
    else:
        text = lab.host(host).run(command, timeout=SECONDS, check=False).out
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_the_page_says_what_happens(cluster: Cluster, page: str) -> None:
    listed = list(steps(DOCS / page))
    assert len(listed) > 9
    try:
        for host, command, printed in listed:
            assert run(cluster.lab, host, command) == printed, f"{host}: {command}"
    finally:
        for name in EXAMPLES:
            for manifest in yaml.safe_load_all((CHECKOUT / "examples" / f"{name}.yaml").read_text()):
                cluster.lab.kubectl("delete", "--ignore-not-found", "-f", "-", input=yaml.safe_dump(manifest))
        eventually(lambda: not cluster.table(cluster.active()), 20, "clean kernel")
