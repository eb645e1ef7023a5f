"""A third director beside the pair: a node with pods that holds the addresses of a group of its own with the two.

It has no link to the servers' segment, so the group has no gateway, and forwards by Direct Routing. It shares its guest
with the client: it is the one that is left, and never crashed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.pair import Pair, echo
from e2e.world import Json, eventually
from failover.subject import DIRECTORS
from lab.product import Keepalived

GROUP = "trio"
THIRD = "node-1"
MEMBERS = (*DIRECTORS, THIRD)
LABEL = "example.com/trio"
INTERVAL = "1000ms"
"""A sixteenth of it lies between two standbys: 62 ms, since the guests share two processors with whatever else runs."""
VIP, VIP6 = "198.18.0.160", "fd00:18::160"
VIPS = (VIP, VIP6)
MACHINE, NODE = ("198.18.0.21", "fd00:18::21"), ("198.18.0.32", "fd00:18::32")
LINK = "trio"


def group() -> Json:
    vrrp = {"routerId": 53, "advertisementInterval": INTERVAL, "preferredNodes": list(MEMBERS)}
    spec = {"nodeSelector": {LABEL: "true"}, "interface": "eth0", "vrrp": vrrp}
    kind = {"apiVersion": "virtualserver.dev/v1alpha1", "kind": "DirectorGroup"}
    return {**kind, "metadata": {"name": GROUP}, "spec": spec}


def served() -> Json:
    """Taken in turn: no hash finds the real server of a connection that was not mirrored."""
    direct = {"forwarding": {"mode": "DirectRouting"}, "scheduler": {"name": "rr"}}
    return echo(GROUP, VIPS, (*MACHINE, *NODE), directorGroup=GROUP, connectionMirroring=True, **direct)


class Trio:
    """The three of the group, once one is active and the others can take over."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.seen = ""

    def order(self) -> list[str]:
        """The active director, then its standbys, the more preferred first."""
        status = self.pair.status(GROUP)
        return [status.get("activeDirector") or "", *(status.get("standbys") or "").replace(",", " ").split()]

    def owners(self) -> list[str]:
        """The living directors whose kernels have the address."""
        living = [name for name in MEMBERS if self.pair.lab.guest_of(name).alive]
        return [name for name in living if self.pair.holds(name, VIP)]

    def bring(self, first: str) -> None:
        """Which director is ready first when a group is made depends on how busy they are."""
        eventually(lambda: len(self.order()) == len(MEMBERS), 60, "all three are ready")
        if self.order()[0] != first:
            self.pair.command("failover", GROUP, "--to", first, "--reason", "the most preferred one begins")
        self.ready(*(first, *(name for name in MEMBERS if name != first)))

    def ready(self, *order: str) -> None:
        """Wait until the first of these is active and the others, which have its connections, are its standbys."""

        def check() -> bool:
            mirrors = [self.pair.report(name, GROUP).get("mirror") or {} for name in order[1:]]
            self.seen = f"{self.order()}, {mirrors}"
            return self.order() == list(order) and all(one.get("state") == "InStep" for one in mirrors)

        try:
            eventually(check, 90, f"{order[0]} is active, {order[1:]} stand by and are in step")
        finally:
            self.pair.note("three directors", seen=self.seen)


@contextmanager
def _receiving(pair: Pair) -> Iterator[None]:
    """A machine that takes packets for the addresses and answers no question about them, set up by hand."""
    quiet = "sysctl -qw net.ipv4.conf.eth0.arp_ignore={0} net.ipv4.conf.eth0.arp_announce={1}"
    add = "".join(f"; ip address add {one} dev {LINK}" for one in (f"{VIP}/32", f"{VIP6}/128 nodad"))
    machine = pair.lab.host("rs-1")
    try:
        machine.run(f"set -e; {quiet.format(1, 2)}; ip link add {LINK} type dummy; ip link set {LINK} up{add}")
        yield
    finally:
        machine.run(f"ip link del {LINK}; {quiet.format(0, 0)}", check=False)


@contextmanager
def joined(pair: Pair) -> Iterator[Trio]:
    """The third one has keepalived and its label meanwhile."""
    lab, made = pair.lab, Trio(pair)
    keepalived = Keepalived(lab.host(THIRD), lab.folder)
    try:
        keepalived.start()
        lab.kubectl("label", "--overwrite", "node", *MEMBERS, f"{LABEL}=true")
        with _receiving(pair), pair.applied(group(), served()):
            made.bring(MEMBERS[0])
            yield made
    finally:
        lab.kubectl("label", "node", *MEMBERS, f"{LABEL}-")
        eventually(lambda: not pair.holds(THIRD, VIP), 20, f"{THIRD} is no director any more")
        keepalived.stop()
