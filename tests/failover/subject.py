"""What a failover is measured on: two directors that serve one virtual address, whoever set them up."""

from __future__ import annotations

from typing import Protocol

from bench.modes import MODES, Mode
from lab.console import LabError, wait_until
from lab.lab import Lab

ECHO = 7
TICK = " 7F767300 0009 "
"""The agent's own service, 127.118.115.0:9, as the kernel writes it."""
DIRECTORS = ("director-1", "director-2")
WAYS = {mode.name.replace(" ", ""): mode for mode in MODES}
"""Modes by the word that names them in figures."""


class Subject(Protocol):
    """`prepare` once for each mode and scheduler; then crash, restore and table_empty as often as one likes."""

    name: str

    def prepare(self, mode: Mode, scheduler: str) -> str:
        """Serve echo; returns the virtual address once both directors are able to."""

    def active(self) -> str:
        """The director that holds the virtual address."""

    def crash(self, director: str) -> float:
        """Cut its power; returns the machine's time at which that was done."""

    def restore(self, director: str) -> None:
        """Switch it on again; returns when it could take over."""

    def hand_over(self) -> None:
        """A planned failover to the standby; returns when it has been asked for."""

    def table_empty(self) -> None:
        """No director knows a connection, and both are able to serve again."""

    def close(self) -> None:
        """Leave the lab as it was."""


def holder(lab: Lab, vip: str, seconds: float = 30) -> str:
    """The only director that has the address."""
    for _ in wait_until(seconds):
        found = [name for name in DIRECTORS if lab.guest_of(name).alive and holds(lab, name, vip)]
        if len(found) == 1:
            return found[0]
    raise LabError(f"not exactly one director holds {vip} after {seconds:g} s: {found}")


def holds(lab: Lab, director: str, vip: str) -> bool:
    return f" {vip}/" in lab.host(director).run("ip -4 -o address").out


def connections(lab: Lab, director: str, protocol: str = "TCP") -> list[str]:
    """Lines of the connection table as the kernel shows it, but for those by which the agent pushes out what waits."""
    shown = lab.host(director).run("cat /proc/net/ip_vs_conn", timeout=60).out.splitlines()[1:]
    return [line for line in shown if line.startswith(protocol) and TICK not in line]
