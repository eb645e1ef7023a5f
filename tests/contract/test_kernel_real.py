"""What only the real kernel can show: what other programs see, and reads while others write.

Collected only with VS_CONTRACT=netlink (inside a guest that has IPVS, in a network namespace of its own).
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from contract.build import address, content, do, refused, server, service, settings, with_service
from contract.worlds import LINK, NetlinkWorld, run
from virtualserver.kernel.announce import gratuitous_arp, neighbour_advertisement
from virtualserver.kernel.ipvs import Ipvs
from virtualserver.kernel.netlink import Netlink
from virtualserver.kernel.port import Kernel, KernelError
from virtualserver.model.operations import (
    AddAddress,
    AddDestination,
    AddLink,
    AddService,
    RaiseLink,
    RemoveAddress,
    RemoveDestination,
    RemoveLink,
    RemoveService,
    ReplaceRules,
)
from virtualserver.model.types import (
    ForwardingMethod,
    LinkKind,
    OwnLink,
    Protocol,
    Rules,
    ServiceContent,
    Tunnel,
    TunnelType,
)


def _saved(*options: str) -> list[str]:
    """Return the table as ipvsadm would save it, numeric."""
    return run(f"ipvsadm -S -n {' '.join(options)}").split("\n")[:-1]


class TestIpvsadmSees:
    def test_service_with_everything(self, kernel: Kernel) -> None:
        wanted = ServiceContent("sh", frozenset({"sh-fallback", "sh-port"}), 300, 24)
        do(kernel, AddService(service(), wanted))
        assert _saved() == ["-A -t 198.18.0.100:80 -s sh -p 300 -M 255.255.255.0 -b sh-fallback,sh-port"]

    def test_one_packet_scheduling(self, kernel: Kernel) -> None:
        wanted = ServiceContent("sh", frozenset({"sh-port", "ops"}))
        do(kernel, AddService(service(port=53, protocol=Protocol.UDP), wanted))
        assert _saved() == ["-A -u 198.18.0.100:53 -s sh -o -b sh-port"]

    def test_ipv6_prefix(self, kernel: Kernel) -> None:
        do(kernel, AddService(service(6), ServiceContent("rr", frozenset(), 60, 64)))
        assert _saved() == ["-A -t [fd00:18::100]:80 -s rr -p 60 -M 64"]

    @pytest.mark.parametrize(
        ("method", "option"),
        [(ForwardingMethod.NAT, "-m"), (ForwardingMethod.DIRECT_ROUTING, "-g"), (ForwardingMethod.TUNNEL, "-i")],
    )
    def test_methods(self, kernel: Kernel, method: ForwardingMethod, option: str) -> None:
        key = with_service(kernel)
        do(kernel, AddDestination(key, server(port=8080), settings(5, method, 20, 10)))
        assert f"-a -t 198.18.0.100:80 -r 198.18.1.21:8080 {option} -w 5" in " ".join(_saved())

    def test_thresholds(self, kernel: Kernel) -> None:
        key = with_service(kernel)
        do(kernel, AddDestination(key, server(), settings(1, upper=20, lower=10)))
        line = run("ipvsadm -Ln --thresholds").splitlines()[-1]
        assert line.split()[:4] == ["->", "198.18.1.21:8080", "20", "10"]

    @pytest.mark.parametrize(
        ("tunnel", "shown"),
        [
            (Tunnel(TunnelType.GUE, 6080), "--tun-type gue --tun-port 6080 --tun-nocsum"),
            (Tunnel(TunnelType.GUE, 258, checksum=True), "--tun-type gue --tun-port 258 --tun-csum"),
            (Tunnel(TunnelType.GRE), "--tun-type gre --tun-nocsum"),
            (Tunnel(), "--tun-type ipip"),
        ],
    )
    def test_tunnels(self, kernel: Kernel, tunnel: Tunnel, shown: str) -> None:
        key = with_service(kernel)
        do(kernel, AddDestination(key, server(), settings(1, ForwardingMethod.TUNNEL, tunnel=tunnel)))
        assert shown in _saved()[1]

    def test_gue_port_in_the_listing(self, kernel: Kernel) -> None:
        """pyroute2 swaps it, and a round trip through one and the same codec would not show that."""
        key = with_service(kernel)
        tunnel = Tunnel(TunnelType.GUE, 6080)
        do(kernel, AddDestination(key, server(), settings(1, ForwardingMethod.TUNNEL, tunnel=tunnel)))
        assert "gue:6080:" in run("ipvsadm -Ln --tun-info").lower()

    def test_udp_and_sctp(self, kernel: Kernel) -> None:
        do(kernel, AddService(service(port=53, protocol=Protocol.UDP), content()))
        do(kernel, AddService(service(port=9, protocol=Protocol.SCTP), content()))
        assert sorted(_saved()) == ["-A --sctp-service 198.18.0.100:9 -s wrr", "-A -u 198.18.0.100:53 -s wrr"]

    def test_restored_by_ipvsadm_reads_back_equal(self, kernel: Kernel) -> None:
        """The same table, once written by us and once by ipvsadm from what it saved of ours."""
        for version in (4, 6):
            key = with_service(kernel, version)
            do(kernel, AddDestination(key, server(21, version), settings(3)))
            do(kernel, AddDestination(key, server(22, version), settings(0, ForwardingMethod.DIRECT_ROUTING)))
        before = kernel.read().services
        run("ipvsadm -S -n > /run/vs-table && ipvsadm -C && ipvsadm -R < /run/vs-table")
        after = kernel.read().services
        # Real servers for Direct Routing get the service's port there; all else must be the same.
        assert {key: found.content for key, found in after.items()} == {k: found.content for k, found in before.items()}
        assert after[service()].destinations[server(21)] == before[service()].destinations[server(21)]


class TestOtherHandsAreSeen:
    @pytest.mark.parametrize(
        "command",
        [
            "ipvsadm -E -t 198.18.0.100:80 -s rr",
            "ipvsadm -E -t 198.18.0.100:80 -s wrr -p 100",
            "ipvsadm -E -t 198.18.0.100:80 -s wrr -p 300 -M 255.255.0.0",
            "ipvsadm -E -t 198.18.0.100:80 -s wrr -p 300 -M 255.0.255.0",
            "ipvsadm -E -t 198.18.0.100:80 -s sh -b sh-port",
            "ipvsadm -e -t 198.18.0.100:80 -r 198.18.1.21:8080 -m -w 2",
            "ipvsadm -e -t 198.18.0.100:80 -r 198.18.1.31:80 -g -w 1",
            "ipvsadm -e -t 198.18.0.100:80 -r 198.18.1.31:80 -i -w 1",
            "ipvsadm -e -t 198.18.0.100:80 -r 198.18.1.21:8080 -m -w 1 -x 10",
            "ipvsadm -e -t 198.18.0.100:80 -r 198.18.1.21:8080 -m -w 1 -x 10 -y 5",
            "ipvsadm -e -t 198.18.0.100:80 -r 198.18.1.32:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum",
            "ipvsadm -e -t 198.18.0.100:80 -r 198.18.1.32:80 -i -w 1 --tun-type gue --tun-port 6081",
            "ipvsadm -e -t 198.18.0.100:80 -r 198.18.1.32:80 -i -w 1 --tun-type gre",
            "ipvsadm -d -t 198.18.0.100:80 -r 198.18.1.21:8080",
            "ipvsadm -a -t 198.18.0.100:80 -r 198.18.1.22:8080 -m",
            "ipvsadm -A -t 198.18.0.100:81 -s rr",
            "ipvsadm -D -t 198.18.0.100:80",
            "ipvsadm -C",
        ],
    )
    def test_change(self, kernel: Kernel, command: str) -> None:
        key = with_service(kernel)
        gue = settings(1, ForwardingMethod.TUNNEL, tunnel=Tunnel(TunnelType.GUE, 6080))
        do(
            kernel,
            AddDestination(key, server(), settings()),
            AddDestination(key, server(31, port=80), settings()),  # ipvsadm keeps ports but for NAT
            AddDestination(key, server(32, port=80), gue),
        )
        before = kernel.read()
        run(command)
        after = kernel.read()
        assert after != before
        assert kernel.read() == after

    def test_one_packet_flag(self, kernel: Kernel) -> None:
        key = service(port=53, protocol=Protocol.UDP)
        do(kernel, AddService(key, content()))
        run("ipvsadm -E -u 198.18.0.100:53 -s wrr -o")
        assert kernel.read().services[key].content.flags == {"ops"}

    def test_unchanged_services_are_the_same_objects(self, kernel: Kernel) -> None:
        one, two = service(port=80), service(port=81)
        do(kernel, AddService(one, content()), AddService(two, content()))
        do(kernel, AddDestination(one, server(), settings()), AddDestination(two, server(), settings()))
        before = kernel.read().services
        do(kernel, AddDestination(two, server(22), settings()))
        after = kernel.read().services
        assert after[one] is before[one]
        assert after[two] is not before[two]

    def test_reads_while_another_program_writes(self, kernel: Kernel) -> None:
        """A dump of several parts is no snapshot: stable entries must be in every read all the same."""
        key = service()
        stable = {server(number % 250 + 1, port=1000 + number) for number in range(300)}
        do(kernel, AddService(key, content()), *(AddDestination(key, one, settings()) for one in stable))
        stop = threading.Event()

        def churn() -> None:
            ipvs, number = Ipvs(), 0
            while not stop.is_set():
                number = number % 200 + 1
                extra = [server(number, port=port) for port in (1, 2, 3)]
                ipvs.apply([AddDestination(key, one, settings()) for one in extra])
                ipvs.apply([RemoveDestination(key, one) for one in extra])
            ipvs.close()

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            reads = []
            for _ in range(60):
                with suppress(KernelError):  # "kept changing" is an answer, too; a wrong table is none
                    reads.append(kernel.read().services[key].destinations.keys())
        finally:
            stop.set()
            thread.join(10)
        assert len(reads) >= 5
        assert all(stable <= found for found in reads)
        assert kernel.read().services[key].destinations.keys() == stable


class TestAddressFlags:
    def _shown(self, text: str) -> dict[str, object]:
        links = json.loads(run(f"ip -j -d address show dev {LINK}"))
        (found,) = (info for info in links[0]["addr_info"] if info["local"] == text)
        return dict(found)

    @pytest.mark.parametrize(("text", "prefix"), [("198.18.0.100", 32), ("fd00:18::100", 128)])
    def test_host_address(self, kernel: Kernel, text: str, prefix: int) -> None:
        do(kernel, AddAddress(address(text, prefix)))
        shown = self._shown(text)
        assert shown["prefixlen"] == prefix
        assert shown["deprecated"] is True
        assert shown["noprefixroute"] is True
        if ":" in text:  # IPv4 shows an address that is valid for ever as preferred for ever, deprecated all the same
            assert shown["preferred_life_time"] == 0
        assert shown["valid_life_time"] == 2**32 - 1
        assert "tentative" not in shown
        assert shown.get("protocol", "0x76") == "0x76"
        assert run(f"ip -6 route show {text}" if ":" in text else f"ip route show {text}") == ""

    def test_gateway_address_has_its_route(self, kernel: Kernel) -> None:
        do(kernel, AddAddress(address("198.18.1.1", 24)))
        assert "198.18.1.0/24" in run("ip route")
        do(kernel, RemoveAddress(address("198.18.1.1", 24)))
        assert "198.18.1.0/24" not in run("ip route")

    @pytest.mark.parametrize(
        ("own", "vips", "target"),
        [
            ("10.77.0.5/24", [("10.77.0.100", 32), ("10.77.0.1", 24)], "10.77.0.200"),
            ("fd77::5/64", [("fd77::100", 128), ("fd77::1", 64)], "fd77::200"),
        ],
    )
    def test_never_the_source_of_own_connections(
        self, kernel: Kernel, world: NetlinkWorld, own: str, vips: list[tuple[str, int]], target: str
    ) -> None:
        world.foreign_address(own)
        do(kernel, *(AddAddress(address(text, prefix)) for text, prefix in vips))
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            assert probe.getsockname()[0] == own.split("/")[0]


class TestAnnouncements:
    @pytest.mark.parametrize(("text", "prefix"), [("198.18.0.100", 32), ("fd00:18::100", 128)])
    def test_frames_reach_the_segment(self, kernel: Kernel, text: str, prefix: int) -> None:
        run("ip link add vs-a type veth peer name vs-b && ip link set vs-a up && ip link set vs-b up")
        try:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as listener:
                listener.bind(("vs-b", 3))
                listener.settimeout(2)
                do(kernel, AddAddress(address(text, prefix, "vs-a")))
                wanted = self._wanted(text)
                seen: list[bytes] = []
                while len(seen) < 3 * len(wanted):
                    frame = listener.recv(2048)
                    if frame in wanted:
                        seen.append(frame)
            assert all(seen.count(frame) == 3 for frame in wanted)
        finally:
            run("ip link del vs-a")

    @staticmethod
    def _wanted(text: str) -> list[bytes]:
        hardware = bytes.fromhex(json.loads(run("ip -j link show vs-a"))[0]["address"].replace(":", ""))
        vip = address(text, 32).address
        if vip.version == 6:
            return [neighbour_advertisement(hardware, vip, router=False)]
        return [gratuitous_arp(hardware, vip, operation) for operation in (1, 2)]


class TestRulesInTheTables:
    def test_others_stay_and_nothing_of_ours_is_left(self, kernel: Kernel) -> None:
        run("iptables-legacy -A OUTPUT -p icmp -j ACCEPT; iptables-legacy -t nat -A POSTROUTING -s 10.9.9.9 -j ACCEPT")
        saved = "iptables-legacy-save | grep '^-'; ip6tables-legacy-save | grep '^-' || true"
        before = run(saved)
        keys = frozenset({service(), service(6)})
        do(kernel, ReplaceRules(Rules(keys, keys)))
        during = run(saved)
        for line in before.splitlines():
            assert line in during
        assert during.index("-A OUTPUT -j VIRTUALSERVER-GUARD") < during.index("-A OUTPUT -p icmp")
        do(kernel, ReplaceRules(Rules(keys)))
        do(kernel, ReplaceRules(Rules(keys)))
        assert run(saved).count("-j VIRTUALSERVER-GUARD") == 2  # one jump per family
        do(kernel, ReplaceRules(Rules()))
        assert run(saved) == before
        assert "VIRTUALSERVER" not in run("iptables-legacy-save; ip6tables-legacy-save")
        run("iptables-legacy -F; iptables-legacy -t nat -F")

    @pytest.mark.parametrize(
        "command",
        [
            "iptables-legacy -D OUTPUT -j VIRTUALSERVER-GUARD",
            "iptables-legacy -F VIRTUALSERVER-GUARD",
            "iptables-legacy -t nat -F",
            "iptables-legacy -A VIRTUALSERVER-GUARD -j ACCEPT",
            "iptables-legacy -D VIRTUALSERVER-GUARD 1",
            "ip6tables-legacy -D OUTPUT 1",
        ],
    )
    def test_another_hand_is_seen_and_repaired(self, kernel: Kernel, command: str) -> None:
        keys = frozenset({service(), service(port=443), service(6)})
        rules = Rules(keys, keys)
        do(kernel, ReplaceRules(rules))
        run(command)
        assert kernel.read(rules=True).rules != rules
        do(kernel, ReplaceRules(rules))
        assert kernel.read(rules=True).rules == rules

    def test_a_new_process_finds_the_rules(self, kernel: Kernel) -> None:
        rules = Rules(frozenset({service()}))
        do(kernel, ReplaceRules(rules))
        another = Netlink()
        assert another.read(rules=True).rules == rules
        another.close()

    def test_guard_drops_resets_of_this_node(self, kernel: Kernel) -> None:
        vip = address("198.18.0.100", 32)
        do(kernel, AddAddress(vip))
        assert self._connect() == errno.ECONNREFUSED
        do(kernel, ReplaceRules(Rules(frozenset({service()}))))
        assert self._connect() == errno.ETIMEDOUT

    @staticmethod
    def _connect() -> int:
        with socket.socket() as client:
            client.settimeout(0.5)
            try:
                client.connect(("198.18.0.100", 80))
            except TimeoutError:
                return errno.ETIMEDOUT
            except OSError as error:
                return error.errno or 0
        return 0


class TestSurroundings:
    def test_inside_a_running_event_loop(self, kernel: Kernel) -> None:
        async def main() -> None:
            with_service(kernel)
            state = await asyncio.to_thread(kernel.read)
            assert state.services == kernel.read().services

        asyncio.run(main())

    def test_changes_come_from_whichever_thread_of_the_pool_is_free(self, kernel: Kernel) -> None:
        one = address("198.18.0.100", 32)

        async def main() -> None:
            for operation in (AddAddress(one), RemoveAddress(one), AddAddress(one)):
                outcomes = await asyncio.get_running_loop().run_in_executor(
                    ThreadPoolExecutor(1), do, kernel, operation
                )
                assert outcomes[0].ok

        asyncio.run(main())
        assert one in kernel.read().addresses

    def test_no_file_descriptor_is_left(self) -> None:
        count: Callable[[], int] = lambda: len(os.listdir("/proc/self/fd"))  # noqa: E731, PTH208 - a count, of the real folder
        before = count()
        for _ in range(3):
            kernel = Netlink()
            kernel.read()
            do(kernel, AddLink("vs-a", OwnLink(LinkKind.DUMMY)), RaiseLink("vs-a"), RemoveLink("vs-a"))
            kernel.close()
        assert count() == before

    def test_family_number_may_change(self, kernel: Netlink) -> None:
        """As after a reload of the module: the old number belongs to nobody."""
        key = with_service(kernel)
        encoder = kernel._ipvs._resolved()
        encoder.family += 50
        assert kernel.read().services.keys() == {key}
        do(kernel, RemoveService(key))

    def test_refused_alike(self, kernel: Kernel) -> None:
        assert refused(kernel, RemoveService(service())).errno == errno.ESRCH
