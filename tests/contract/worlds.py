"""The two kernels that the contract is held against, with what a test needs beside the two verbs."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Protocol

from virtualserver.kernel.fake import FakeKernel
from virtualserver.kernel.netlink import Netlink
from virtualserver.kernel.port import Kernel
from virtualserver.model.operations import ConfigureInstances, RemoveDecapsulation, ReplaceRules, StopDaemon
from virtualserver.model.types import Decapsulation, IPAddress, LinkAddress, Rules, Service, ServiceContent, ServiceKey

REAL = os.environ.get("VS_CONTRACT", "fake") == "netlink"
LINK, ROUTED, _ROUTER = "vs-test0", "routed0", "router0"
_ADVERTISEMENT = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)  # RFC 4861, 4.2: a router for half an hour


class World(Protocol):
    """A kernel, and another hand that changes it from outside."""

    @property
    def kernel(self) -> Kernel: ...

    @property
    def writes(self) -> int: ...

    def fail_at(self, number: int, code: int) -> None:
        """Make the ``number``-th write from now on fail with an errno; 0 ends all failing."""

    def fail_from(self, number: int, code: int) -> None:
        """The same for that write and all after it."""

    def foreign_service(self, key: ServiceKey) -> None:
        """Add a service (scheduler wrr) as another program would."""

    def foreign_firewall_mark(self, mark: int) -> None: ...

    def foreign_firewall_marks(self) -> int:
        """Return how many services by firewall mark there are."""

    def foreign_address(self, cidr: str) -> LinkAddress:
        """Add an address to the link as another program would."""

    def foreign_link(self, name: str, kind: str) -> None:
        """Make a link as another program would; it vanishes with the world."""

    def lower_link(self, name: str) -> None:
        """Set a link down."""

    def move_tunnel(self, name: str, local: IPAddress) -> None:
        """Give an IPIP tunnel another local address."""

    def remove_link(self, name: str) -> None: ...

    def foreign_port(self, port: int, version: int) -> None:
        """Open a UDP port for GUE packets as another program would."""

    def remove_port(self, port: int, version: int) -> None: ...

    def listen(self, port: int) -> None:
        """Take a UDP port of IPv4, as a program that serves there."""

    def elect(self) -> None:
        """From now on there is a keepalived, which holds addresses as it is told."""

    def settle(self) -> None:
        """Give it the time that it needs."""

    def flush_services(self) -> None: ...

    def flush_rules(self) -> None: ...

    def hear_router(self) -> None:
        """Let a router behind the link ``ROUTED`` (made by the first call) advertise itself."""

    def has_default_route(self) -> bool:
        """Return whether there is one from such an advertisement."""

    def close(self) -> None: ...


class _Failing:
    """A failure hook that can be armed later."""

    def __init__(self) -> None:
        self.first, self.last, self.code = 0, 0, 0

    def arm(self, first: int, last: int, code: int) -> None:
        self.first, self.last, self.code = first, last, code

    def __call__(self, number: int, _operation: object) -> int:
        return self.code if self.first <= number <= self.last else 0


class FakeWorld:
    """The kernel in memory."""

    def __init__(self) -> None:
        self._failing = _Failing()
        self.kernel = FakeKernel(links=("lo", LINK), fail=self._failing)
        self._marks: set[int] = set()

    @property
    def writes(self) -> int:
        return self.kernel.writes

    def fail_at(self, number: int, code: int) -> None:
        self._failing.arm(self.kernel.writes + number, self.kernel.writes + number, code)

    def fail_from(self, number: int, code: int) -> None:
        self._failing.arm(self.kernel.writes + number, sys.maxsize, code)

    def foreign_service(self, key: ServiceKey) -> None:
        bits = key.address.max_prefixlen
        self.kernel.services[key] = Service(ServiceContent("wrr", persistence_prefix=bits))

    def foreign_firewall_mark(self, mark: int) -> None:
        self._marks.add(mark)

    def foreign_firewall_marks(self) -> int:
        return len(self._marks)

    def foreign_address(self, cidr: str) -> LinkAddress:
        interface = ip_interface(cidr)
        address = LinkAddress(LINK, interface.ip, interface.network.prefixlen)
        self.kernel.addresses.add(address)
        return address

    def foreign_link(self, name: str, kind: str) -> None:
        self.kernel.links.add(name)

    def lower_link(self, name: str) -> None:
        self.kernel.own_links[name] = replace(self.kernel.own_links[name], up=False)

    def move_tunnel(self, name: str, local: IPAddress) -> None:
        self.kernel.own_links[name] = replace(self.kernel.own_links[name], local=local)

    def remove_link(self, name: str) -> None:
        self.kernel.remove_link(name)

    def foreign_port(self, port: int, version: int) -> None:
        self.kernel.decapsulations.add(Decapsulation(port, version))

    def remove_port(self, port: int, version: int) -> None:
        self.kernel.decapsulations.remove(Decapsulation(port, version))

    def listen(self, port: int) -> None:
        self.kernel.taken_ports.add(port)

    def hear_router(self) -> None:
        self.kernel.links.add(ROUTED)
        self.kernel.sysctls.setdefault(f"net.ipv6.conf.{ROUTED}.accept_ra", "1")
        self.kernel.hear_router(ROUTED)

    def has_default_route(self) -> bool:
        return ROUTED in self.kernel.routers

    def elect(self) -> None:
        self.kernel.failover.electing = True

    def settle(self) -> None:
        pass

    def flush_services(self) -> None:
        self.kernel.flush()

    def flush_rules(self) -> None:
        self.kernel.flush_rules()

    def close(self) -> None:
        pass


def run(command: str) -> str:
    """Run a shell command in this network namespace; return what it printed."""
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True, timeout=30).stdout


class NetlinkWorld:
    """The kernel of this network namespace, which must be one that nobody else needs; runs as root."""

    def __init__(self) -> None:
        self._failing = _Failing()
        # Without any IPv4 address there is no local routing table, and every real server counts as a broadcast.
        run(
            f"ip link set lo up; ip link del {LINK} 2>/dev/null; ip link add {LINK} type dummy && ip link set {LINK} up"
        )
        self._run_dir = Path(f"/run/vs-contract-{os.getpid()}")
        self._keepalived: subprocess.Popen[bytes] | None = None
        self.kernel = Netlink(fail=self._failing, run_dir=self._run_dir)
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    @property
    def writes(self) -> int:
        return self.kernel.writes

    def fail_at(self, number: int, code: int) -> None:
        self._failing.arm(self.kernel.writes + number, self.kernel.writes + number, code)

    def fail_from(self, number: int, code: int) -> None:
        self._failing.arm(self.kernel.writes + number, sys.maxsize, code)

    def foreign_service(self, key: ServiceKey) -> None:
        host = f"[{key.address}]" if key.address.version == 6 else str(key.address)
        option = {"TCP": "-t", "UDP": "-u", "SCTP": "--sctp-service"}[key.protocol]
        run(f"ipvsadm -A {option} {host}:{key.port} -s wrr")

    def foreign_firewall_mark(self, mark: int) -> None:
        run(f"ipvsadm -A -f {mark} -s rr && ipvsadm -a -f {mark} -r 10.99.0.1 -g")

    def foreign_firewall_marks(self) -> int:
        return sum(line.startswith("FWM") for line in run("ipvsadm -Ln").splitlines())

    def foreign_address(self, cidr: str) -> LinkAddress:
        interface = ip_interface(cidr)
        run(f"ip address add {cidr} dev {LINK} {'nodad' if interface.version == 6 else ''}")
        return LinkAddress(LINK, interface.ip, interface.network.prefixlen)

    def foreign_link(self, name: str, kind: str) -> None:
        run(f"ip link add {name} type {kind}")

    def lower_link(self, name: str) -> None:
        run(f"ip link set {name} down")

    def move_tunnel(self, name: str, local: IPAddress) -> None:
        remote = self.kernel.read().own_links[name].remote
        run(f"ip link set {name} type ipip local {local} remote {remote}")

    def remove_link(self, name: str) -> None:
        run(f"ip link del {name}")

    def foreign_port(self, port: int, version: int) -> None:
        run(f"ip fou add port {port} gue {'-6' if version == 6 else ''}")

    def remove_port(self, port: int, version: int) -> None:
        run(f"ip fou del port {port} {'-6' if version == 6 else ''}")

    def listen(self, port: int) -> None:
        self._listener.bind(("0.0.0.0", port))

    def hear_router(self) -> None:
        if ROUTED not in self.kernel.read().links:
            # Without duplicate address detection the router has its source address at once.
            run(
                f"ip link add {ROUTED} type veth peer name {_ROUTER}; sysctl -qw net.ipv6.conf.{_ROUTER}.accept_dad=0; "
                f"ip link set {ROUTED} up; ip link set {_ROUTER} up; sleep 0.5"
            )
        index = socket.if_nametoindex(_ROUTER)
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as router:
            router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            router.sendto(_ADVERTISEMENT, ("ff02::1", 0, 0, index))
        time.sleep(0.2)

    def has_default_route(self) -> bool:
        return f"dev {ROUTED} proto ra" in run("ip -6 route show default")

    def elect(self) -> None:
        run(f"ip link set {LINK} multicast on; ip address add 198.18.0.11/24 dev {LINK}")  # for advertisements
        command = [sys.executable, "-m", "virtualserver", "keepalived"]
        environment = {**os.environ, "RUN_DIR": str(self._run_dir)}
        self._keepalived = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        self.kernel.apply([ConfigureInstances(())])

    def settle(self) -> None:
        time.sleep(0.1)

    def flush_services(self) -> None:
        run("ipvsadm -C")

    def flush_rules(self) -> None:
        for program in ("iptables-legacy", "ip6tables-legacy"):
            run(f"for table in filter nat mangle; do {program} -t $table -F; done")

    def close(self) -> None:
        if self._keepalived is not None:
            self._keepalived.terminate()
            self._keepalived.wait(10)
        shutil.rmtree(self._run_dir, ignore_errors=True)
        self._listener.close()
        left = self.kernel.read()
        self.kernel.apply([RemoveDecapsulation(one) for one in left.decapsulations])
        self.kernel.apply([StopDaemon(one.role) for one in left.daemons])
        links = [name for name in left.links if name.startswith("vs-")]
        run("ipvsadm -C; ip -batch - <<'END'\n" + "\n".join(f"link del {name}" for name in links) + "\nEND")
        run(f"ip link del {ROUTED} 2>/dev/null || true")
        if self.kernel._iptables._backend is not None:  # rules were written or found: else four processes for nothing
            self.kernel.apply([ReplaceRules(Rules())])
        self.kernel.close()
