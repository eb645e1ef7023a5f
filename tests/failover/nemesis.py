"""What can go wrong with directors, done to the lab: each is a block, and undone at its end, whatever happens in it.

Power: `lab.crash` and `lab.boot`. `frozen` is quicker and looks the same from the wire: nothing leaves the machine.
Cables are pulled where they are plugged in, so the director sees its carrier go. Needs topology `three` but for
links, signals, loss and clocks.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

from failover.subject import DIRECTORS
from lab import network
from lab.console import LabError
from lab.hosts import Process
from lab.lab import Lab

DATA = (network.CLIENT.letter, network.SERVER.letter)
"""Segments that carry traffic; the third is the way to the API server."""


# -- power ----------------------------------------------------------------------------------------------------------


def freeze(lab: Lab, director: str) -> float:
    """Its whole kernel stands still from the time that is returned."""
    at = time.time()
    os.kill(_kernel(lab, director), SIGSTOP)
    return at


def thaw(lab: Lab, director: str, alone: str = "true") -> None:
    """It goes on; the command is run while it is still cut off from the segments that carry traffic.

    Its taps are taken out of their bridges and stay up: a guest's link does not recover from one that was down.
    """
    taps = _taps(lab, director)
    bridges = {tap: Path(f"/sys/class/net/{tap}/master").readlink().name for tap in taps}
    try:
        for tap in taps:
            subprocess.run(["ip", "link", "set", tap, "nomaster"], check=True)
        os.kill(_kernel(lab, director), SIGCONT)
        lab.host(director).run(alone, check=False)
    finally:
        for tap, bridge in bridges.items():
            subprocess.run(["ip", "link", "set", tap, "master", bridge], check=True)


@contextmanager
def frozen(lab: Lab, director: str) -> Iterator[float]:
    """As a virtual machine that is paused, and goes on as if nothing had been."""
    at = freeze(lab, director)
    try:
        yield at
    finally:
        os.kill(_kernel(lab, director), SIGCONT)


def _kernel(lab: Lab, director: str) -> int:
    daemon = lab.guest_of(director).daemon
    if daemon is None or not daemon.alive:
        raise LabError(f"{director} is not running")
    return daemon.pid


def _taps(lab: Lab, director: str, letters: str = "".join(DATA)) -> list[str]:
    """The machine's ends of its guest's cables."""
    guest = lab.guest_of(director)
    if guest.hosts != [director]:
        raise LabError(f"{director} shares its guest: use topology `three`")
    return [guest.tap(network.CABLES.index(letter)) for letter in letters]


# -- links ----------------------------------------------------------------------------------------------------------


@contextmanager
def cut(lab: Lab, host: str, letters: str = "".join(DATA)) -> Iterator[float]:
    """The cables of these segments are pulled out of the host: its links have no carrier."""
    try:
        yield _plug(lab, host, letters, "down")
    finally:
        _plug(lab, host, letters, "up")


def _plug(lab: Lab, host: str, letters: str, state: str) -> float:
    """The other end of the host's link is a port of the guest's bridge."""
    lines = "\n".join(f"link set {letter}-{host} {state}" for letter in letters)
    began = time.time()
    lab.guest_of(host).host().run(f"ip -batch - <<'END'\n{lines}\nEND")
    return began


def flap(lab: Lab, host: str, seconds: float, every: float = 1.0, letters: str = "".join(DATA)) -> int:
    """Pull and plug in again and again, half of the time each; returns how often."""
    ends, count = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        with cut(lab, host, letters):
            time.sleep(every / 2)
        time.sleep(every / 2)
        count += 1
    return count


@contextmanager
def partition(lab: Lab, letters: str = "".join(DATA)) -> Iterator[float]:
    """Directors no longer see each other in these segments; everybody else sees both."""
    taps = [tap for name in DIRECTORS for tap in _taps(lab, name, letters)]
    try:
        yield _isolate(taps, "on")
    finally:
        _isolate(taps, "off")


def _isolate(taps: list[str], state: str) -> float:
    """Isolated ports of a bridge reach all others but not each other."""
    began = time.time()
    batch = "".join(f"link set dev {tap} isolated {state}\n" for tap in taps)
    done = subprocess.run(["bridge", "-batch", "-"], input=batch, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"bridge: {done.stderr.strip()}")
    return began


@contextmanager
def loss(lab: Lab, director: str, percent: int, match: str, *, at_random: bool = False) -> Iterator[None]:
    """Of the packets that match (words of iptables) so many of a hundred never arrive there: exactly so many, evenly
    spread, or `at_random`, each as likely as the others."""
    if percent == 0:
        yield
        return
    if 100 % percent and not at_random:
        raise LabError(f"{percent} % is not every n-th packet")
    which = f"random --probability {percent / 100:g}" if at_random else f"nth --every {100 // percent} --packet 0"
    rule = f"PREROUTING {match} -m statistic --mode {which} -j DROP"
    host = lab.host(director)
    host.run(f"iptables-legacy -t raw -I {rule}")
    try:
        yield
    finally:
        host.run(f"iptables-legacy -t raw -D {rule}", check=False)


ADVERTISEMENTS = "-p 112"
MIRRORED = "-p udp --dport 8848"


# -- programs -------------------------------------------------------------------------------------------------------


def kill(lab: Lab, director: str, program: str) -> float:
    """`kill -9` of all processes of that name on the director; its time."""
    return _signal(lab, director, program, SIGKILL)


def kill_together(lab: Lab, director: str, *programs: str) -> float:
    """As when a container ends for want of memory: none of them can do anything about the others' end."""
    for number in (SIGSTOP, SIGKILL):
        times = [_signal(lab, director, program, number) for program in programs]
    return times[0]


@contextmanager
def stopped(lab: Lab, director: str, program: str) -> Iterator[float]:
    """SIGSTOP, and SIGCONT at the end."""
    try:
        yield _signal(lab, director, program, SIGSTOP)
    finally:
        _signal(lab, director, program, SIGCONT)


PATTERNS = {"agent": "virtualserver agent", "supervisor": "virtualserver keepalived", "keepalived": "^keepalived "}
"""Programs of a director by what stands in their command lines."""


def _signal(lab: Lab, director: str, program: str, number: int) -> float:
    """Only to processes in the director's namespace: it may share its guest."""
    pattern = PATTERNS[program]
    script = f"""\
mine=" $(ip netns pids {director} | tr '\\n' ' ')"
for pid in $(pgrep -f '{pattern}'); do
    case "$mine" in *" $pid "*) found="$found $pid";; esac
done
test -n "$found" && kill -{int(number)} $found"""
    began = time.time()
    if lab.guest_of(director).host().run(script, check=False).code:
        raise LabError(f"no {program} runs on {director}")
    return began


# -- the rest -------------------------------------------------------------------------------------------------------


@contextmanager
def burn(lab: Lab, director: str) -> Iterator[Process]:
    """Something else wants all of the director's processor."""
    process = lab.host(director).spawn(["sh", "-c", "while :; do :; done"], f"burn-{director}")
    try:
        yield process
    finally:
        process.signal(SIGKILL)
        process.wait(10)


@contextmanager
def clock(lab: Lab, director: str, seconds: int) -> Iterator[None]:
    """The wall clock of the director's machine jumps, and back at the end; each guest has its own."""
    _step(lab, director, seconds)
    try:
        yield
    finally:
        _step(lab, director, -seconds)


def _step(lab: Lab, director: str, seconds: int) -> None:
    lab.host(director).run(f"date -s @$(( $(date +%s) + {seconds} ))")


@contextmanager
def beside_kube_proxy(lab: Lab, *hosts: str) -> Iterator[None]:
    """What kube-proxy has on every node: of what is forwarded, packets of no connection that is tracked are dropped."""
    rule = "FORWARD -m conntrack --ctstate INVALID -j DROP"
    try:
        for name in hosts:
            lab.host(name).run("\n".join(f"set -e; {program} -A {rule}" for program in IPTABLES))
        yield
    finally:
        for name in hosts:
            if lab.guest_of(name).alive:
                lab.host(name).run("\n".join(f"{program} -D {rule}" for program in IPTABLES), check=False)


IPTABLES = ("iptables-legacy", "ip6tables-legacy")


@contextmanager
def without_api(lab: Lab) -> Iterator[float]:
    """No API server."""
    began = time.time()
    lab.api.stop()
    try:
        yield began
    finally:
        lab.api.start()


@contextmanager
def meanwhile(action: threading.Thread) -> Iterator[None]:
    """Something that goes on during the block, such as `flap`; waited for at its end."""
    action.start()
    try:
        yield
    finally:
        action.join()
