"""The Debian packages the lab stands on: one list, a check, and the installation.

Only the standard library: this runs with the system's python3 before anything else is there.
"""

import os
import shutil
import subprocess

from lab.console import LabError, say
from lab.progress import run_visibly

# package: what the lab uses of it
PACKAGES = {
    "conntrack": "look at connection tracking in the hosts",
    "curl": "requests in the hosts",
    "etcd-server": "etcd",
    "ethtool": "switch off offloads that the guest cannot take",
    "iperf3": "throughput over one connection",
    "iproute2": "links, addresses, namespaces",
    "iptables": "iptables-legacy with the ipvs match",
    "haproxy": "a load balancer to measure against, and the web server behind both",
    "ipvsadm": "look at IPVS, and program it by hand",
    "keepalived": "VRRP between directors",
    "kmod": "load the guest's modules",
    "openssl": "the lab's own certificate authority",
    "patchelf": "lets the next Debian's kernel find its C library",
    "tcpdump": "look at packets in the hosts",
    "user-mode-linux": "the kernel with IPVS: linux.uml and its modules",
    "wrk": "connections a second, with few system calls each",
}


def missing() -> list[str]:
    """Packages that are not installed, in the order of the list; without dpkg nothing is known to be there."""
    if shutil.which("dpkg-query") is None:
        raise LabError("dpkg-query not found: the lab runs on Debian 12 (or a system like it)")
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *PACKAGES]
    shown = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    installed = {line.split()[0] for line in shown.splitlines() if line.endswith(" installed")}
    return [name for name in PACKAGES if name not in installed]


def require() -> None:
    """Say in one line what to install; the lab installs nothing behind a person's back while it comes up."""
    absent = missing()
    if absent:
        raise LabError(f"missing Debian packages: {' '.join(absent)} - run: python3 -m lab setup")


def install() -> None:
    """Install what is missing; the package lists are refreshed only then, because that is slow."""
    absent = missing()
    if not absent:
        return
    if os.geteuid() != 0:
        raise LabError(f"installing {' '.join(absent)} needs root")
    say(f"setup: installing {' '.join(absent)}")
    _apt("apt-get update", ["apt-get", "update"])
    _apt("dpkg --configure", ["dpkg", "--configure", "-a"])  # an installation may have been interrupted
    options = ["-y", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300"]
    _apt("apt-get install", ["apt-get", "install", *options, *absent])
    still = missing()
    if still:
        raise LabError(f"apt-get ended well, but these are still not installed: {' '.join(still)}")
    say("setup: done")


def _apt(title: str, command: list[str]) -> None:
    run_visibly(title, command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"})
