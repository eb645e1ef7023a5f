"""Ways of reaching the same service, each for the time of one block: ours, by hand, HAProxy, and past all of them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from bench import traffic
from bench.modes import SCHEDULERS, Commands, Mode, setting_up, tearing_down
from lab.console import LabError, wait_until
from lab.interrupts import uninterrupted
from lab.lab import Lab

COLLECTION = "/apis/virtualserver.dev/v1alpha1/namespaces/default/virtualservers"
PATIENCE = 40
Way = Callable[[Lab, Mode, str, str], AbstractContextManager[str]]
"""Takes a virtual address and the director's name too; the block gets the address that the client uses."""


@contextmanager
def ours(lab: Lab, mode: Mode, vip: str, director: str) -> Iterator[str]:
    """Two virtual servers at one address, with the default monitor."""
    names = {f"bench-{port}": _spec(mode, vip, port, scheduler) for port, scheduler in SCHEDULERS.items()}
    try:
        for name, spec in names.items():
            made = {"apiVersion": "virtualserver.dev/v1alpha1", "kind": "VirtualServer", "metadata": {"name": name}}
            lab.api.request("POST", COLLECTION, made | {"spec": spec})
        _until(lambda: all(_ready(lab, mode, name) for name in names), f"{mode.name} ready")
        yield vip
    finally:
        with uninterrupted():
            lab.kubectl("delete", "virtualservers", "--ignore-not-found", *names)
            _clean(lab, mode, vip, director)


@contextmanager
def by_hand(lab: Lab, mode: Mode, vip: str, director: str) -> Iterator[str]:
    """With `ipvsadm` and `ip`; see modes.py for every command."""
    remote = _address_of(director)
    try:
        _run(lab, setting_up(mode, vip, director, remote), check=True)
        yield vip
    finally:
        with uninterrupted():
            _run(lab, tearing_down(mode, vip, director), check=False)
            _clean(lab, mode, vip, director)


@contextmanager
def haproxy(lab: Lab, mode: Mode, vip: str, director: str) -> Iterator[str]:
    """The client's connection ends at the director, and a second one goes on."""
    host = lab.host(director)
    host.run(f"ip address add {vip}/32 dev eth0")
    try:
        with traffic.haproxy(lab, director, traffic.proxy(vip, mode.servers.values())):
            yield vip
    finally:
        with uninterrupted():
            host.run(f"ip address del {vip}/32 dev eth0")


@contextmanager
def direct(lab: Lab, mode: Mode, vip: str, director: str) -> Iterator[str]:
    """To one real server's own address."""
    yield mode.near


WAYS: dict[str, Way] = {"ours": ours, "by hand": by_hand, "HAProxy": haproxy, "direct": direct}


def active_director(lab: Lab) -> str:
    """The group's active director; raises LabError when none becomes active."""
    shown = ["get", "directorgroups", "default", "-o", "jsonpath={.status.activeDirector}"]
    for _ in wait_until(PATIENCE):
        if name := lab.kubectl(*shown).stdout.strip():
            return name
    raise LabError(f"no director is active after {PATIENCE} s")


def _spec(mode: Mode, vip: str, port: int, scheduler: str) -> dict[str, Any]:
    return {
        "addresses": [vip],
        "ports": [{"port": port}],
        "forwarding": mode.forwarding,
        "scheduler": {"name": scheduler},
        "realServers": [{"address": address} for address in mode.servers.values()],
    }


def _ready(lab: Lab, mode: Mode, name: str) -> bool:
    """All real servers are up, and those that are nodes hold what they need."""
    status: dict[str, Any] = lab.api.request("GET", f"{COLLECTION}/{name}").get("status") or {}
    count = len(mode.servers)
    nodes = [one for one in status.get("nodes") or [] if one.get("programmedGeneration")]
    wanted = 0 if mode.method == "-m" else count
    return status.get("readyRealServers") == f"{count}/{count}" and len(nodes) == wanted


def _clean(lab: Lab, mode: Mode, vip: str, director: str) -> None:
    """Wait until nobody holds the virtual address or knows the service: the next way starts from here."""

    def check() -> bool:
        left = lab.host(director).run("ipvsadm -Sn").out
        held = "".join(lab.host(name).run("ip -4 -o address").out for name in (director, *mode.servers))
        return not left.strip() and f" {vip}/" not in held

    _until(check, f"{mode.name} removed")


def _run(lab: Lab, commands: Commands, *, check: bool) -> None:
    for host, lines in commands.items():
        lab.host(host).run(("set -e\n" if check else "") + "\n".join(lines), check=check)


def _address_of(director: str) -> str:
    return f"198.18.0.{10 + int(director.rpartition('-')[2])}"


def _until(check: Callable[[], bool], what: str) -> None:
    for _ in wait_until(PATIENCE):
        if check():
            return
    raise LabError(f"not within {PATIENCE} s: {what}")
