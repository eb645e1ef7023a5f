"""The lab's data centre as data: hosts, segments, addresses; and the script that builds it in a guest.

    client .2 ─── client segment 198.18.0.0/24, fd00:18::/64 (eth0) ─┬─ director-1 .11, director-2 .12
                                                                     └─ rs-1 .21, rs-2 .22, rs-3 .23
    director-1 .11, director-2 .12 ─── server segment 198.18.1.0/24, fd00:18:1::/64 (eth1) ─── rs-1 .21 ...
    client segment ─── node-1 .31, node-2 .32 ─── pods: 10.244.31.0/24, fd00:10:244:31::/64 (pod-1a .11, pod-1b .12),
                                                        10.244.32.0/24, fd00:10:244:32::/64 (pod-2a .11)
    directors' and nodes' mgmt0 ─── management segment of this lab ─── the machine: API server

Directors have routes to the pods, as any CNI gives them; the client has none.

Pure: nothing here runs anything. The gateway of the server segment (.1) and the VIPs (.100 to .199) belong to
no host: putting them on the active director is the product's work.
"""

import zlib
from dataclasses import dataclass

VIPS = range(100, 200)
GATEWAY = 1


@dataclass(frozen=True)
class Segment:
    """One layer 2 network: a bridge in every guest, named by one letter, and a link in every host on it."""

    letter: str
    link: str
    ipv4: str
    ipv6: str | None = None

    def addresses(self, number: int) -> list[str]:
        """The host part is the same decimal figure in both families: .11 and ::11."""
        return [f"{self.ipv4}.{number}/24", *([f"{self.ipv6}{number}/64"] if self.ipv6 else [])]

    @property
    def bridge(self) -> str:
        return f"br-{self.letter}"

    def hardware(self, number: int) -> str:
        """The same after every boot, as that of a real machine: neighbours remember it for half a minute."""
        return f"02:00:00:00:{ord(self.letter):02x}:{number:02x}"


CLIENT = Segment("c", "eth0", "198.18.0", "fd00:18::")
SERVER = Segment("s", "eth1", "198.18.1", "fd00:18:1::")
CABLES = ("m", CLIENT.letter, SERVER.letter)
"""Segments by letter, in the order of a guest's network devices; a guest that is alone has the first one only."""


@dataclass(frozen=True)
class HostPlan:
    """A network namespace, its figure in every segment, and what it is for; a pod also has a node."""

    name: str
    number: int
    role: str
    node: str = ""

    @property
    def segments(self) -> list[Segment]:
        if self.role == "pod":
            return [pods(next(host for host in HOSTS if host.name == self.node).number)]
        return [CLIENT] if self.role in ("client", "node") else [CLIENT, SERVER]


HOSTS = [
    HostPlan("client", 2, "client"),
    HostPlan("director-1", 11, "director"),
    HostPlan("director-2", 12, "director"),
    HostPlan("rs-1", 21, "real-server"),
    HostPlan("rs-2", 22, "real-server"),
    HostPlan("rs-3", 23, "real-server"),
    HostPlan("node-1", 31, "node"),
    HostPlan("node-2", 32, "node"),
    HostPlan("pod-1a", 11, "pod", "node-1"),
    HostPlan("pod-1b", 12, "pod", "node-1"),
    HostPlan("pod-2a", 11, "pod", "node-2"),
]
DIRECTORS = [host.name for host in HOSTS if host.role == "director"]
NODES = [host.name for host in HOSTS if host.role in ("director", "node")]
"""What runs an agent."""

TOPOLOGIES = {
    "one": {"a": [host.name for host in HOSTS]},
    "three": {
        "a": [host.name for host in HOSTS if host.role != "director"],
        "b": ["director-1"],
        "c": ["director-2"],
    },
}
"""Which hosts live in which guest; with a guest of its own, a director can be crashed as a whole machine."""


def pods(node: int) -> Segment:
    """The network of a node's pods: a bridge of its own on the node, which is their gateway (.1)."""
    return Segment("p", "eth0", f"10.244.{node}", f"fd00:10:244:{node}::")


POD_BRIDGE = "pods"

_KNOWN_LABS = {"lab": 2, "bench": 4}


def management(name: str) -> Segment:
    """Every lab has its own, because all labs share the machine's root namespace; .1 is the machine."""
    third = _KNOWN_LABS.get(name) or 10 + zlib.crc32(name.encode()) % 240
    return Segment("m", "mgmt0", f"198.18.{third}")


def guest_number(guest: str) -> int:
    """A guest's own figure in the management segment: .2, .3, .4."""
    return 2 + "abc".index(guest)


def build_script(guest: str, hosts: list[str], mgmt: Segment, uplinks: dict[str, str]) -> str:
    """A shell script for the guest's root namespace. `uplinks` maps a segment's letter to a network device.

    One `ip -batch` per namespace: starting a program is what costs time in a guest.
    """
    plans = [host for host in HOSTS if host.name in hosts]
    lines = ["set -e"]
    lines += [f"ip netns add {host.name}" for host in plans]
    for host in plans:
        lines += [f"ip netns exec {host.name} sh <<'END'", *_sysctl_lines(host), "END"]
    lines += ["ip -batch - <<'END'", *_root_batch(guest, plans, mgmt, uplinks), "END"]
    lines += [line for host in plans if host.role == "node" for line in _pod_bridge(host, plans)]
    for host in plans:
        lines += [f"ip -n {host.name} -batch - <<'END'", *_host_batch(host, mgmt), "END"]
        if host.role == "real-server":  # a batch takes rules of one family only
            lines.append(f"ip -n {host.name} -6 rule add from {SERVER.ipv6}/64 lookup 100 priority 1000")
    return "\n".join(lines) + "\n"


def _segments(host: HostPlan, mgmt: Segment) -> list[Segment]:
    return [*host.segments, mgmt] if host.name in NODES else host.segments


def _pod_bridge(node: HostPlan, plans: list[HostPlan]) -> list[str]:
    """What a CNI makes on a node: a bridge with the gateway's addresses, and a cable to each pod."""
    lines = [f"link add {POD_BRIDGE} type bridge mcast_snooping 0", f"link set {POD_BRIDGE} up"]
    lines += [f"address add {address} dev {POD_BRIDGE}" for address in pods(node.number).addresses(GATEWAY)]
    for pod in (plan for plan in plans if plan.node == node.name):
        lines.append(f"link add {pod.name} type veth peer name eth0 netns {pod.name}")
        lines.append(f"link set {pod.name} master {POD_BRIDGE} up")
    return [f"ip -n {node.name} -batch - <<'END'", *lines, "END"]


def _root_batch(guest: str, plans: list[HostPlan], mgmt: Segment, uplinks: dict[str, str]) -> list[str]:
    lines = []
    for segment in (CLIENT, SERVER, mgmt):
        lines.append(f"link add {segment.bridge} type bridge mcast_snooping 0")
        lines += [f"link set {segment.bridge} addrgenmode none", f"link set {segment.bridge} up"]
        if device := uplinks.get(segment.letter):
            lines += [f"link set {device} addrgenmode none", f"link set {device} master {segment.bridge} up"]
    lines.append(f"link set {mgmt.bridge} address {mgmt.hardware(guest_number(guest))}")
    lines += [f"address add {address} dev {mgmt.bridge}" for address in mgmt.addresses(guest_number(guest))]
    for host in (plan for plan in plans if plan.role != "pod"):
        for segment in _segments(host, mgmt):
            port = f"{segment.letter}-{host.name}"
            peer = f"name {segment.link} address {segment.hardware(host.number)} netns {host.name}"
            lines.append(f"link add {port} type veth peer {peer}")
            lines += [f"link set {port} addrgenmode none", f"link set {port} master {segment.bridge} up"]
    return lines


def _host_batch(host: HostPlan, mgmt: Segment) -> list[str]:
    lines = ["link set lo up"]
    for segment in _segments(host, mgmt):
        lines.append(f"link set {segment.link} up")
        lines += [f"address add {address} dev {segment.link}" for address in segment.addresses(host.number)]
    if host.role == "real-server":
        lines += _gateway_routes()
    if host.role == "pod":
        segment = host.segments[0]
        lines += [f"route add default via {segment.ipv4}.{GATEWAY}", f"route add default via {segment.ipv6}{GATEWAY}"]
    if host.role in ("director", "node"):
        lines += _routes_to_pods(host)
    return lines


def _routes_to_pods(host: HostPlan) -> list[str]:
    lines = []
    for node in (one for one in HOSTS if one.role == "node" and one != host):
        network = pods(node.number)
        lines.append(f"route add {network.ipv4}.0/24 via {CLIENT.ipv4}.{node.number}")
        lines.append(f"route add {network.ipv6}/64 via {CLIENT.ipv6}{node.number}")
    return lines


def _gateway_routes() -> list[str]:
    """A real server is also on the client segment, yet what it answers from its server address has to go back
    through the gateway, or the client would see an answer that IPVS has not translated."""
    lines = []
    for prefix, gateway in ((f"{SERVER.ipv4}.0/24", f"{SERVER.ipv4}.1"), (f"{SERVER.ipv6}/64", f"{SERVER.ipv6}1")):
        lines.append(f"route add default via {gateway} dev {SERVER.link}")
        lines.append(f"route add {prefix} dev {SERVER.link} table 100")
        lines.append(f"route add default via {gateway} dev {SERVER.link} table 100")
    return [*lines, f"rule add from {SERVER.ipv4}.0/24 lookup 100 priority 1000"]


def _sysctl_lines(host: HostPlan) -> list[str]:
    """Set before any link exists, so that `default` counts; duplicate address detection would cost seconds."""
    forwarding = 1 if host.name in NODES else 0
    values = {"net/ipv4/ip_forward": forwarding, "net/ipv6/conf/all/forwarding": forwarding}
    for scope in ("all", "default"):
        values[f"net/ipv4/conf/{scope}/rp_filter"] = 2 * forwarding
        values[f"net/ipv4/conf/{scope}/send_redirects"] = 0
        values[f"net/ipv4/conf/{scope}/accept_redirects"] = 0
        values[f"net/ipv6/conf/{scope}/accept_redirects"] = 0
        values[f"net/ipv6/conf/{scope}/accept_dad"] = 0
        values[f"net/ipv6/conf/{scope}/accept_ra"] = 0
    return [f"echo {value} >/proc/sys/{name}" for name, value in values.items()]
