"""The peer: keepalived with a plain configuration, VRRP, health checks, IPVS and its sync daemon, as a guide has it.

Nothing of ours runs meanwhile: agents and controller are stopped, directors are booted without. Settings of the kernel
are its defaults, but for those without which no answer comes; `tuned` adds what a person finds who reads the kernel's
documentation: mirroring from the handshake on, and unknown connections taken in; and advertisements twice as often.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from bench.modes import GATEWAY, LINK, NODES, Mode
from failover import nemesis
from failover.subject import DIRECTORS, ECHO, connections, holder, holds
from lab.console import LabError, complain, wait_until
from lab.lab import Lab

VIP = "198.18.0.190"
PRIORITIES = {"director-1": 150, "director-2": 100}
DEFAULTS = {"sync_threshold": "3 50", "sync_refresh_period": "0", "sync_retries": "0", "sloppy_tcp": "0"}
TUNED = {"sync_threshold": "0 1", "sync_refresh_period": "10", "sync_retries": "2", "sloppy_tcp": "1"}
FORGET = f"""\
killall -q -KILL keepalived
ip address del {VIP}/32 dev eth0
ip address del {GATEWAY} dev eth1
ipvsadm --stop-daemon master; ipvsadm --stop-daemon backup
sysctl -qw net.ipv4.vs.expire_nodest_conn=1; ipvsadm -C
while pidof -q keepalived; do sleep 0.05; done"""
"""What a crash would have done."""
READY = 60.0
"""Seconds in which a busy machine loads keepalived and programs a handful of services."""
METHODS = {"-m": "NAT", "-g": "DR", "-i": "TUN"}


def configuration(director: str, mode: Mode, scheduler: str, seconds: float) -> str:
    """keepalived.conf, with so much time between advertisements."""
    excluded = f"    virtual_ipaddress_excluded {{ {GATEWAY} dev eth1 }}\n" if mode.method == "-m" else ""
    servers = "".join(
        f"    real_server {address} {ECHO} {{\n        weight 1\n        TCP_CHECK {{ connect_timeout 2 }}\n    }}\n"
        for address in mode.servers.values()
    )
    return f"""\
global_defs {{
    router_id {director}
    vrrp_version 3
    vrrp_garp_master_refresh 10
    lvs_sync_daemon eth0 lab id 51
}}
vrrp_instance lab {{
    state BACKUP
    interface eth0
    virtual_router_id 51
    priority {PRIORITIES[director]}
    advert_int {seconds:g}
    nopreempt
    virtual_ipaddress {{ {VIP}/32 dev eth0 }}
{excluded}}}
virtual_server {VIP} {ECHO} {{
    delay_loop 2
    lvs_sched {scheduler}
    lvs_method {METHODS[mode.method]}
    protocol TCP
{servers}}}
virtual_server {VIP} {ECHO} {{
    delay_loop 2
    lvs_sched {scheduler}
    lvs_method {METHODS[mode.method]}
    protocol UDP
{servers}}}
""".replace("protocol UDP\n" + servers, "protocol UDP\n" + servers.replace("TCP_CHECK { connect_timeout 2 }", ""))


def receiving(mode: Mode, local: str) -> list[str]:
    """What makes a real server take packets to the virtual address; nothing with NAT."""
    if mode.method == "-m":
        return []
    link = f"ipip local {local}" if mode.method == "-i" else "dummy"
    return [
        "sysctl -qw net.ipv4.conf.eth0.arp_ignore=1 net.ipv4.conf.eth0.arp_announce=2",
        f"ip link add {LINK} type {link}",
        f"ip address add {VIP}/32 dev {LINK}",
        f"ip link set {LINK} up",
    ]


class ByHand:
    """keepalived on both directors."""

    def __init__(self, lab: Lab, tuned: bool = False, freeze: bool = False) -> None:
        """`freeze`: a crash stops the guest instead of killing it, which spares a boot each time."""
        self.lab = lab
        self.tuned = tuned
        self.freeze = freeze
        self.name = "keepalived by hand" + (", tuned" if tuned else "")
        self._folder = lab.folder / "by-hand"
        self._folder.mkdir(exist_ok=True)
        self._mode: Mode | None = None

    def prepare(self, mode: Mode, scheduler: str) -> str:
        self._stop_product()
        self._receivers_off()
        self._mode = mode
        for host, address in mode.servers.items():
            self.lab.host(host).run("\n".join(["set -e", *receiving(mode, address)]))
        seconds = 0.05 if self.tuned else 0.1
        for director in DIRECTORS:
            (self._folder / f"{director}.conf").write_text(configuration(director, mode, scheduler, seconds))
        self.table_empty()
        return VIP

    def active(self) -> str:
        return holder(self.lab, VIP)

    def crash(self, director: str) -> float:
        if self.freeze:
            return nemesis.freeze(self.lab, director)
        at = time.time()
        self.lab.crash(director)
        return at

    def restore(self, director: str) -> None:
        if self.freeze:
            nemesis.thaw(self.lab, director, FORGET)
        else:
            self.lab.boot(director, product=False)
        self._start(director)

    def hand_over(self) -> None:
        """The way its documentation has: stop keepalived on the active director."""
        self._keepalived(self.active(), "TERM")

    def table_empty(self) -> None:
        """Start both anew; before services go, the kernel is told to forget connections without a real server."""
        for director in sorted(DIRECTORS, key=lambda name: not holds(self.lab, name, VIP)):
            self._stop(director)  # the active one first: an entry that it mirrors after the other forgot would stay
        try:
            self._begin()
        except LabError as error:  # seen: both stay active; nothing but a boot ends that
            complain(f"{self.name}: {error}; both directors are booted anew")
            for director in DIRECTORS:
                self.lab.crash(director)
                self.lab.boot(director, product=False)
            self._begin()

    def _begin(self) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._start, DIRECTORS))
            list(pool.map(self._ready, DIRECTORS))
        self.active()

    def close(self) -> None:
        self._receivers_off()
        for director in DIRECTORS:
            self.lab.crash(director)
            self.lab.boot(director)
        for node in NODES:
            self.lab.agents[node].start()
        self.lab.controller.start()

    def _stop_product(self) -> None:
        """Directors are booted anew, so that nothing of what agents programmed is left."""
        if not self.lab.controller.running and not any(agent.running for agent in self.lab.agents.values()):
            return
        self.lab.controller.stop()
        for node in NODES:
            self.lab.agents[node].stop()
        for director in DIRECTORS:
            self.lab.crash(director)
            self.lab.boot(director, product=False)

    def _receivers_off(self) -> None:
        for host in NODES:
            self.lab.host(host).run(f"ip link delete {LINK} 2>/dev/null", check=False)

    def _start(self, director: str) -> None:
        settings = TUNED if self.tuned else DEFAULTS
        words = " ".join(f"net.ipv4.vs.{name}='{value}'" for name, value in settings.items())
        self.lab.host(director).run(f"sysctl -qw net.ipv4.vs.expire_nodest_conn=0 {words}")
        command = ["keepalived", "-n", "-l", "-D", "-f", str(self._folder / f"{director}.conf")]
        self.lab.host(director).spawn(command, f"keepalived-{director}")

    def _keepalived(self, director: str, signal: str) -> None:
        self.lab.host(director).run(f"killall -q -{signal} keepalived", check=False)

    def _stop(self, director: str) -> None:
        host = self.lab.host(director)
        host.run("sysctl -qw net.ipv4.vs.expire_nodest_conn=1; killall -q keepalived", check=False)
        for _ in wait_until(10):  # it removes its services when it ends; the table is emptied a little later
            if host.run("pidof keepalived", check=False).code and not connections(self.lab, director):
                return
        self.lab.crash(director)
        self.lab.boot(director, product=False)

    def _ready(self, director: str) -> None:
        assert self._mode is not None
        wanted = 2 * len(self._mode.servers)
        for _ in wait_until(READY):
            shown = self.lab.host(director).run("ipvsadm -Sn; ipvsadm -L --daemon").out
            if shown.count("\n-a ") == wanted and "sync daemon" in shown:
                return
        raise LabError(f"keepalived on {director} has not programmed everything after {READY:g} s: {shown}")
