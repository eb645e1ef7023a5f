"""The ways of forwarding that are compared, and how each is set up with `ipvsadm` and `ip` by hand; pure.

By hand means the least that works and that a person who knows IPVS would type: the same schedulers, real servers
and addresses, no packet filter, no settings beyond those without which no answer comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

WEB, SINK = 8090, 5201
"""Ports of the short exchanges and of the long streams."""
SCHEDULERS = {WEB: "rr", SINK: "sh"}
"""`sh` keeps the two connections that iperf3 opens on one real server."""
GUE_PORT = 6080
GATEWAY = "198.18.1.1/24"
LINK = "by-hand"

Commands = Mapping[str, list[str]]
"""Shell commands by host, in their order."""


@dataclass(frozen=True)
class Mode:
    """`servers` maps hosts to the addresses that directors send to; `near` is what a client reaches without any."""

    name: str
    forwarding: dict[str, object]
    method: str
    servers: dict[str, str]
    near: str
    tunnel: list[str] = field(default_factory=list)
    """What makes a real server take wrapped packets, with its own address and the director's to be filled in."""


BEHIND = {"rs-1": "198.18.1.21", "rs-2": "198.18.1.22"}
NODES = {"node-1": "198.18.0.31", "node-2": "198.18.0.32"}
_IPIP = f"ip link add {LINK} type ipip local {{local}} remote {{remote}}"


def _tunnel(kind: str, method: str, commands: list[str]) -> Mode:
    forwarding: dict[str, object] = {"mode": "Tunnel", "tunnel": {"type": kind}}
    return Mode(f"Tunnel {kind}", forwarding, method, NODES, NODES["node-1"], commands)


MODES = [
    Mode("NAT", {"mode": "NAT"}, "-m", BEHIND, "198.18.0.21"),
    Mode("DirectRouting", {"mode": "DirectRouting"}, "-g", NODES, NODES["node-1"]),
    _tunnel("IPIP", "-i", [_IPIP]),
    _tunnel("GUE", f"-i --tun-type gue --tun-port {GUE_PORT}", [f"ip fou add port {GUE_PORT} gue", _IPIP]),
    _tunnel("GRE", "-i --tun-type gre", [f"ip link add {LINK} type gre local {{local}} remote {{remote}}"]),
]


def virtual_address(mode: Mode, way: int) -> str:
    """One for each mode and way: the kernel keeps connections for two minutes after their virtual service has gone,
    and would drop those that come again from the same port by another way (`ip_vs_core.c`: `ip_vs_in_hook`)."""
    return f"198.18.0.{100 + 10 * MODES.index(mode) + way}"


def setting_up(mode: Mode, vip: str, director: str, remote: str) -> Commands:
    """Everything by hand; `remote` is the director's address towards the real servers."""
    return {name: _server(mode, vip, address, remote) for name, address in _receivers(mode).items()} | {
        director: [
            *([f"ip address add {GATEWAY} dev eth1"] if not _receivers(mode) else []),
            *(f"ipvsadm -A -t {vip}:{port} -s {scheduler}" for port, scheduler in SCHEDULERS.items()),
            *(
                f"ipvsadm -a -t {vip}:{port} -r {address}:{port} {mode.method}"
                for port in SCHEDULERS
                for address in mode.servers.values()
            ),
            f"ip address add {vip}/32 dev eth0",
        ]
    }


def tearing_down(mode: Mode, vip: str, director: str) -> Commands:
    """The way back; each command may fail, for the way there may have been interrupted."""
    undo = [f"ip link del {LINK}", *(f"ip fou del port {GUE_PORT}" for line in mode.tunnel if " fou " in line)]
    quiet = [f"sysctl -qw net.ipv4.conf.eth0.{name}=0" for name in ("arp_ignore", "arp_announce")]
    gateway = [f"ip address del {GATEWAY} dev eth1"] if not _receivers(mode) else []
    services = [f"ipvsadm -D -t {vip}:{port}" for port in SCHEDULERS]
    return {name: [*undo, *quiet] for name in _receivers(mode)} | {
        director: [f"ip address del {vip}/32 dev eth0", *services, *gateway]
    }


def _receivers(mode: Mode) -> dict[str, str]:
    """Real servers that get the client's packet as it is, and so need the virtual address; none with NAT."""
    return {} if mode.method == "-m" else mode.servers


def _server(mode: Mode, vip: str, local: str, remote: str) -> list[str]:
    made = [one.format(local=local, remote=remote) for one in mode.tunnel] or [f"ip link add {LINK} type dummy"]
    return [
        "sysctl -qw net.ipv4.conf.eth0.arp_ignore=1 net.ipv4.conf.eth0.arp_announce=2",
        *made,
        f"ip address add {vip}/32 dev {LINK}",
        f"ip link set {LINK} up",
    ]
