"""A mode that changes while connections run: what a node and a director keep for them, and when it goes."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from unit.builders import director_group, node, store, virtual_server
from virtualserver.agent.halves import LINGER, SILENCE
from virtualserver.agent.paths import AGAIN
from virtualserver.agent.programmer import Programmer
from virtualserver.agent.record import Record
from virtualserver.api.enums import RealServerState
from virtualserver.api.reasons import Reason
from virtualserver.kernel.fake import FakeKernel
from virtualserver.kernel.port import KernelError
from virtualserver.model.types import Clamp, DestinationKey, ForwardingMethod, LinkAddress, Protocol, ServiceKey, State
from virtualserver.model.usage import Usage
from virtualserver.plan import desired, settings
from virtualserver.plan.desired import Circumstances, Plan
from virtualserver.plan.health import Health
from virtualserver.plan.tunnels import HOLDER
from virtualserver.plan.verdicts import judge

UP = Health(RealServerState.UP, Reason.MONITOR_SUCCEEDED)
NODE = {**node("node-1", "198.18.0.31"), "metadata": {"name": "node-1", "labels": {}}}
NODES = [node("director-1", "198.18.0.11"), NODE]
VIP, OTHER = ip_address("198.18.0.100"), ip_address("198.18.0.101")
CONNECTED = Usage(addresses=frozenset({VIP}))
DIRECT, TUNNEL, NAT = "DirectRouting", "Tunnel", "NAT"


def _forwarding(mode: str) -> dict[str, object]:
    """``Tunnel GRE`` names the type, too."""
    word, _, kind = mode.partition(" ")
    return {"mode": word} | ({"tunnel": {"type": kind}} if kind else {})


class Machine:
    """A node and what the API server says."""

    def __init__(self, folder: Path, name: str = "node-1", address: str = "198.18.0.31") -> None:
        self.name, self.now, self.folder = name, 0.0, folder
        self.kernel = FakeKernel(("lo", "eth0"))
        self.kernel.addresses.add(LinkAddress("eth0", ip_address(address), 24))
        self.modes: dict[str, tuple[str, str]] = {}
        self.protocol = "TCP"
        self.start()

    def start(self) -> None:
        self.programmer = Programmer(self.kernel, Record(self.folder / "record.json"), lambda: self.now)

    def _plan(self, _actual: State, circumstances: Circumstances) -> Plan:
        servers = [
            virtual_server(
                name,
                addresses=[address],
                ports=[{"port": 7, "protocol": self.protocol}],
                forwarding=_forwarding(mode),
                realServers=[{"address": "198.18.0.31"}],
                monitors=[],
            )
            for name, (address, mode) in self.modes.items()
        ]
        world = store(virtual_servers=servers, groups=[director_group()], nodes=NODES).world()
        return desired.plan(world, judge(world), lambda *_: UP, self.name, circumstances)

    def mode(self, mode: str | None, name: str = "web", address: str = str(VIP)) -> None:
        if mode is None:
            del self.modes[name]
        else:
            self.modes[name] = (address, mode)
        self.rounds()

    def rounds(self, seconds: float = 1.0) -> None:
        self.now += seconds
        for _ in range(2):
            self.programmer.round(
                self._plan,
                lambda actual: settings.names((), settings.uplinks(actual), actual.own_links),
                complete=True,
            )

    @property
    def held(self) -> set[str]:
        return {str(one.address) for one in self.kernel.addresses if one.link == HOLDER}

    @property
    def tunnels(self) -> set[str]:
        return self.kernel.own_links.keys() - {HOLDER}

    @property
    def entries(self) -> dict[int, tuple[ForwardingMethod, int]]:
        (service,) = self.kernel.services.values()
        return {key.port: (one.method, one.weight) for key, one in service.destinations.items()}


def test_a_node_keeps_its_half_until_the_last_connection_has_ended(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    before = dict(machine.kernel.sysctls)
    machine.mode(TUNNEL)
    assert machine.tunnels
    machine.kernel.used = CONNECTED
    machine.mode(NAT)
    machine.rounds(5 * SILENCE / 10)
    assert machine.held == {str(VIP)}
    assert machine.tunnels
    assert machine.kernel.rules.sealed == {VIP}, "strangers are kept out as long as a tunnel is left"
    assert machine.kernel.sysctls != before
    machine.kernel.used = Usage()
    machine.rounds(LINGER - 1)
    assert machine.tunnels
    machine.rounds(LINGER + 1)
    assert machine.kernel.own_links == {}
    assert machine.held == set()
    assert machine.kernel.rules.sealed == frozenset()
    assert machine.kernel.sysctls == before


def test_a_tunnel_goes_when_it_is_silent_though_the_new_mode_has_connections_to_the_same_address(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path)
    machine.mode(TUNNEL)
    (tunnel,) = machine.tunnels
    for packets in range(5):
        machine.kernel.used = Usage(CONNECTED.addresses, received={tunnel: packets})
        machine.mode(DIRECT)
        machine.rounds(SILENCE - 2)
        assert machine.tunnels, "a packet came by it"
    machine.rounds(SILENCE)
    assert machine.tunnels == set()
    assert machine.held == {str(VIP)}


def test_connections_to_pods_keep_the_tunnel_though_the_new_mode_needs_the_same_virtual_service(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.mode(TUNNEL)
    pod = DestinationKey(ip_address("10.244.31.11"), 7)
    machine.kernel.used = Usage(entries=frozenset({(ServiceKey(Protocol.TCP, VIP, 7), pod)}))
    machine.mode(DIRECT)
    machine.rounds(2 * LINGER)
    assert machine.tunnels
    machine.kernel.used = Usage()
    machine.rounds(2)
    machine.rounds(LINGER)
    assert machine.tunnels == set()


def test_of_two_that_leave_a_tunnel_one_after_the_other_each_keeps_it_for_its_connections(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.mode(TUNNEL)
    machine.mode(TUNNEL, "other", str(OTHER))
    machine.kernel.used = CONNECTED
    machine.mode(DIRECT)
    machine.mode(DIRECT, "other", str(OTHER))
    machine.rounds(2 * LINGER)
    assert machine.tunnels, "the first has connections"
    machine.kernel.used = Usage()
    machine.rounds(2)
    machine.rounds(LINGER)
    assert machine.tunnels == set()


def test_after_a_change_of_its_type_the_old_tunnel_stays_until_the_director_has_heard_of_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.mode(TUNNEL)
    old = machine.tunnels
    machine.mode("Tunnel GRE")
    new = machine.tunnels - old
    assert new
    assert machine.tunnels == old | new
    machine.rounds(LINGER)
    assert machine.tunnels == new


def test_deleting_takes_all_away_at_once_and_others_keep_what_they_need(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.mode(TUNNEL)
    machine.mode(DIRECT, "other", str(OTHER))
    machine.kernel.used = Usage(frozenset({VIP, OTHER}))
    machine.mode(None)
    assert machine.held == {str(OTHER)}
    assert machine.tunnels == set()
    machine.mode(None, "other", str(OTHER))
    assert machine.kernel.own_links == {}


def test_an_agent_that_starts_again_finds_what_connections_still_use(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.mode(TUNNEL)
    machine.kernel.used = CONNECTED
    machine.mode(NAT)
    machine.start()
    machine.rounds(2 * LINGER)
    machine.rounds(2 * LINGER)
    assert machine.tunnels
    assert machine.held == {str(VIP)}
    machine.kernel.used = Usage()
    machine.rounds(1)
    machine.rounds(LINGER)
    assert machine.kernel.own_links == {}


def test_what_cannot_be_looked_at_is_kept(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.mode(DIRECT)
    machine.mode(NAT)
    machine.kernel.usage = _unknown  # type: ignore[method-assign]  # replaced for this test
    machine.rounds(10 * LINGER)
    assert machine.held == {str(VIP)}


def _unknown() -> Usage:
    raise KernelError("no /proc")


def test_clients_are_told_of_what_the_route_to_a_director_takes_and_again_when_that_changes(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.mode(TUNNEL)
    assert machine.kernel.rules.clamped == {Clamp(VIP, 1440)}
    machine.kernel.narrow[ip_address("198.18.0.11")] = 1400
    machine.rounds(AGAIN)
    assert machine.kernel.rules.clamped == {Clamp(VIP, 1340)}
    machine.kernel.narrow[ip_address("198.18.0.11")] = 552  # an ICMP message that anybody can send makes it so
    machine.rounds(AGAIN)
    assert machine.kernel.rules.clamped == {Clamp(VIP, 1280 - 60)}
    machine.kernel.narrow.clear()
    machine.rounds(AGAIN)
    assert machine.kernel.rules.clamped == {Clamp(VIP, 1440)}


def test_an_old_entry_of_the_director_goes_when_it_has_no_connection(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "director-1", "198.18.0.11")
    machine.mode(TUNNEL)
    old = (ServiceKey(Protocol.TCP, VIP, 7), DestinationKey(ip_address("198.18.0.31"), 7))
    machine.kernel.used = Usage(entries=frozenset({old}))
    machine.mode(DIRECT)
    machine.rounds(10 * LINGER)
    assert machine.entries == {0: (ForwardingMethod.DIRECT_ROUTING, 1), 7: (ForwardingMethod.TUNNEL, 0)}
    machine.kernel.used = Usage()
    machine.rounds(2)
    machine.rounds(LINGER)
    assert machine.entries == {0: (ForwardingMethod.DIRECT_ROUTING, 1)}


def test_a_udp_flow_is_ended_so_that_it_begins_anew_in_the_new_mode(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "director-1", "198.18.0.11")
    machine.protocol = "UDP"
    machine.mode(TUNNEL)
    machine.now += 10
    machine.modes["web"] = (str(VIP), NAT)
    machine.rounds(0)
    assert machine.entries == {}, "the kernel ends its flows"
    machine.rounds(0.2)
    assert machine.entries == {7: (ForwardingMethod.NAT, 1)}
    machine.mode(DIRECT)
    assert machine.entries == {0: (ForwardingMethod.DIRECT_ROUTING, 1)}
