"""What the lab promises to whoever writes manifests and tests: hosts, addresses, routes, services, the kubeconfig."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab import assets
from lab.lab import Lab
from labtests.command import CHECKOUT
from labtests.drive import HOSTS

NUMBERS = dict(zip(HOSTS, (2, 11, 12, 21, 22, 23), strict=True))
REAL_SERVERS = ("rs-1", "rs-2", "rs-3")
CLIENTS, CLIENTS6 = "198.18.0", "fd00:18:"
SERVERS, SERVERS6 = "198.18.1", "fd00:18:1:"
ASKING = Path(__file__).with_name("asking.py")


def make_exec(lab: Lab, host: str, command: str) -> str:
    options = shlex.join(["--name", lab.name, "--folder", str(lab.folder)])
    line = ["make", "MAKEFLAGS=", "lab-exec", f"ARGS={options}", f"HOST={host}", f"CMD={command}"]
    return subprocess.run(line, cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("host", HOSTS)
def test_every_host_has_its_figure_in_both_segments_and_both_families(lab: Lab, host: str) -> None:
    number = NUMBERS[host]
    wanted = {"eth0": {f"{CLIENTS}.{number}/24", f"{CLIENTS6}:{number}/64"}}
    if host != "client":
        wanted["eth1"] = {f"{SERVERS}.{number}/24", f"{SERVERS6}:{number}/64"}
    shown: list[dict[str, Any]] = json.loads(lab.host(host).run("ip -json address").out)
    found = {
        link["ifname"]: {f"{one['local']}/{one['prefixlen']}" for one in link["addr_info"] if one["scope"] == "global"}
        for link in shown
        if link["ifname"] in ("eth0", "eth1")
    }
    assert {link: found[link] & addresses for link, addresses in wanted.items()} == wanted
    assert set(found) == set(wanted)


@pytest.mark.parametrize("host", REAL_SERVERS)
def test_the_default_route_of_a_real_server_is_the_gateway(lab: Lab, host: str) -> None:
    routes = lab.host(host).run("ip route show default; ip -6 route show default").out.splitlines()
    assert [route.split()[:5] for route in routes] == [
        ["default", "via", f"{SERVERS}.1", "dev", "eth1"],
        ["default", "via", f"{SERVERS6}:1", "dev", "eth1"],
    ]


@pytest.mark.parametrize(
    ("host", "prefix", "prefix6"), [("client", CLIENTS, CLIENTS6), ("director-1", SERVERS, SERVERS6)]
)
def test_every_real_server_answers_http_and_echoes(lab: Lab, host: str, prefix: str, prefix6: str) -> None:
    wanted = {}
    for name in REAL_SERVERS:
        for separator, one in ((".", prefix), (":", prefix6)):
            line = f"{name} {one}{separator}{NUMBERS[host]}"
            wanted[f"{one}{separator}{NUMBERS[name]}"] = {
                "80": line,
                "8080": line,
                "tcp 7": "a word",
                "udp 7": "a word",
            }
    assert json.loads(lab.host(host).run(["python", str(ASKING), *wanted], timeout=60).out) == wanted


def fetch(lab: Lab, name: str, port: int = 80) -> int:
    """curl's code: 0 an answer, 7 refused, 28 not in time."""
    url = f"http://{CLIENTS}.{NUMBERS[name]}:{port}/"
    return lab.host("client").run(f"curl -sS --max-time 1 {url}", check=False).code


@contextmanager
def put_right(lab: Lab, name: str) -> Iterator[None]:
    try:
        yield
    finally:
        lab.host(name).run("service-ctl start")


def test_make_lab_exec_stops_and_starts_a_service_of_one_real_server(lab: Lab) -> None:
    with put_right(lab, "rs-2"):
        assert make_exec(lab, "rs-2", "service-ctl stop web") == "web stopped (port 80)\n"
        assert [fetch(lab, name) for name in REAL_SERVERS] == [0, 7, 0]
        assert fetch(lab, "rs-2", 8080) == 0
        assert make_exec(lab, "rs-2", "service-ctl start web") == "web running (port 80)\n"
        assert fetch(lab, "rs-2") == 0


def test_all_services_stop_and_start_together(lab: Lab) -> None:
    states = [f"{name} stopped (port {port})" for name, port in (("web", 80), ("web-alt", 8080), ("echo", 7))]
    with put_right(lab, "rs-3"):
        assert lab.host("rs-3").run("service-ctl stop").out.splitlines() == states
        assert [fetch(lab, "rs-3", port) for port in (80, 8080, 7)] == [7, 7, 7]
    assert lab.host("client").run(["python", str(ASKING), f"{CLIENTS}.23"]).code == 0


@pytest.mark.parametrize("verb", ["hang", "mute"])
def test_a_service_that_hangs_or_is_mute_answers_nobody_in_time(lab: Lab, verb: str) -> None:
    url = f"http://{CLIENTS}.21/"
    connected = f"curl -sS --max-time 1 -o /dev/null -w '%{{time_connect}}' {url} || true"
    with put_right(lab, "rs-1"):
        lab.host("rs-1").run(f"service-ctl {verb} web")
        assert fetch(lab, "rs-1") == 28
        assert (float(lab.host("client").run(connected).out) > 0) == (verb == "mute")
    assert fetch(lab, "rs-1") == 0


def test_the_kubeconfig_is_where_it_is_documented_and_works(lab: Lab) -> None:
    assert Lab().folder == CHECKOUT / ".lab"
    config = lab.folder / "kubeconfig"
    line = [str(assets.find("kubectl")), f"--kubeconfig={config}", "get", "nodes", "-o", "name"]
    shown = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60, cwd=lab.folder)
    assert {"node/director-1", "node/director-2"} <= set(shown.stdout.split())
