"""Real keepalived in real namespaces: who holds the addresses, and for how long nobody or two do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from virtualserver.model.failover import Instance
from virtualserver.model.operations import Allow, ConfigureInstances, Forbid
from virtualserver.model.types import LinkAddress
from vrrp.directors import GATEWAY, GROUP, ROUTER, TOKEN, VIP, Director, eventually, history, segment, spans

INTERVAL, MISSED = 100, 3
LOST = MISSED * INTERVAL / 1000 + 0.05
"""Seconds after which a standby takes over from an active director that says nothing, skew and scheduling included."""


def instance(director: Director, **changes: object) -> Instance:
    found = Instance(GROUP, ROUTER, "eth0", INTERVAL, MISSED, 251 - director.number % 10, addresses=(*VIP, GATEWAY))
    return replace(found, **changes)  # type: ignore[arg-type]  # keywords of several types


def configure(directors: Sequence[Director], **changes: object) -> None:
    for one in directors:
        one.instances = (instance(one, **changes),)
        one.do(ConfigureInstances(one.instances))


def allow(director: Director) -> None:
    """Allow it as soon as keepalived runs, as the agent does."""
    eventually(lambda: director.call(lambda: director.kernel.apply([Allow(GROUP)]))[0].ok)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Director]]:
    """Two directors; the first one is active, the second one may be."""
    with segment(tmp_path) as directors:
        configure(directors)
        for one in directors:
            one.start()
            allow(one)
            if one is directors[0]:
                eventually(directors[0].holds)
        time.sleep(0.5)
        assert directors[0].holds()
        assert not directors[1].holds(TOKEN)
        yield directors
        for one in directors:
            print(one.log.read_text())


def moved(pair: list[Director], since: float, *, within: float) -> None:
    """Assert that the second director got all addresses that soon, and that the two were never active for long."""
    eventually(pair[1].holds)
    eventually(lambda: not pair[0].addresses() & {TOKEN, *VIP, GATEWAY})
    time.sleep(0.5)
    for address in (TOKEN, *VIP, GATEWAY):
        silent, several = spans(history(pair, address), since)
        print(f"{address}: nobody for {silent * 1000:.0f} ms, both for {several * 1000:.0f} ms")
        assert silent < within, address
        assert several < 0.05, address


class TestOwnership:
    def test_one_director_is_active_and_only_after_it_is_allowed(self, tmp_path: Path) -> None:
        with segment(tmp_path) as directors:
            configure(directors)
            for one in directors:
                one.start()
            time.sleep(1.5)
            assert not any(one.holds(TOKEN) for one in directors)
            allow(directors[1])
            eventually(directors[1].holds)
            allow(directors[0])
            time.sleep(1)
            assert not directors[0].holds(TOKEN), "no preemption unless asked for"

    def test_with_preemption_the_preferred_one_takes_over_after_its_delay(self, tmp_path: Path) -> None:
        with segment(tmp_path) as directors:
            configure(directors, preempt_delay=1.0)
            for one in reversed(directors):
                one.start()
                allow(one)
                eventually(one.holds)
            eventually(lambda: not directors[1].holds(TOKEN))
            time.sleep(0.1)
            _, several = spans(history(directors, TOKEN), 0)
            assert several < 0.05

    def test_a_forbidden_one_hands_over_at_once(self, pair: list[Director]) -> None:
        since = time.time()
        pair[0].do(Forbid(GROUP))
        moved(pair, since, within=0.1)
        pair[0].do(Allow(GROUP))
        time.sleep(1)
        assert pair[1].holds()

    def test_one_that_is_to_take_over_from_a_living_one_has_the_addresses_before_that_lets_go(
        self, pair: list[Director]
    ) -> None:
        since = time.time()
        configure(pair[1:], priority=254, preempt_delay=0.0)
        moved(pair, since, within=0.01)
        configure(pair[1:])
        time.sleep(2)
        assert pair[1].holds(), "it stays, with its own priority again"
        assert not pair[0].holds(TOKEN)

    def test_a_lost_link_moves_the_addresses(self, pair: list[Director]) -> None:
        since = time.time()
        pair[0].run("ip link set eth0 down")
        eventually(pair[1].holds)
        assert time.time() - since < LOST + 0.2
        eventually(lambda: not pair[0].holds(TOKEN))

    def test_a_link_that_was_made_again_is_used_again(self, pair: list[Director]) -> None:
        pair[0].run("ip link del eth0")
        eventually(pair[1].holds)
        pair[0].lay_cable()
        time.sleep(2)
        pair[1].do(Forbid(GROUP))
        eventually(pair[0].holds)


class TestDeath:
    def test_of_keepaliveds_child(self, pair: list[Director]) -> None:
        since = time.time()
        pair[0].kill("vrrp")
        moved(pair, since, within=LOST)

    def test_of_keepalived(self, pair: list[Director]) -> None:
        since = time.time()
        pair[0].kill("keepalived")
        moved(pair, since, within=LOST)

    def test_of_the_supervisor(self, pair: list[Director]) -> None:
        since = time.time()
        pair[0].supervisor.kill()
        moved(pair, since, within=LOST)
        assert not pair[0].call(pair[0].kernel.read).eligible
        pair[0].start()
        allow(pair[0])
        pair[1].do(Forbid(GROUP))
        eventually(pair[0].holds)

    def test_of_the_whole_container(self, pair: list[Director]) -> None:
        """Nobody is left to remove the addresses; the next supervisor does it before anything else."""
        pids = [pair[0].supervisor.pid, pair[0].pid("keepalived"), pair[0].pid("vrrp")]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        eventually(pair[1].holds)
        assert pair[0].holds()
        since = time.time()
        pair[0].start()
        eventually(lambda: not pair[0].addresses() & {TOKEN, *VIP, GATEWAY})
        assert time.time() - since < 1.5
        assert not pair[0].call(pair[0].kernel.read).eligible

    def test_keepalived_comes_back_and_may_not_be_active_until_allowed_again(self, pair: list[Director]) -> None:
        before = pair[0].pid("vrrp")
        pair[0].kill("vrrp")
        eventually(pair[1].holds)
        eventually(lambda: runs_anew(pair[0], before))
        pair[1].do(Forbid(GROUP))
        time.sleep(1)
        assert not pair[0].holds(TOKEN)
        assert not pair[0].call(pair[0].kernel.read).eligible
        allow(pair[0])
        eventually(pair[0].holds)


class TestStandstill:
    """keepalived is there and does nothing: stopped, or stuck in the kernel."""

    def test_of_the_active_one_leaves_no_second_owner(self, pair: list[Director]) -> None:
        before = stop(pair[0])
        eventually(pair[1].holds)
        assert pair[0].holds(), "a process that is stopped gives nothing away"
        eventually(lambda: not pair[0].addresses() & {TOKEN, *VIP, GATEWAY}, 4)
        eventually(lambda: runs_anew(pair[0], before))
        assert not pair[0].call(pair[0].kernel.read).eligible
        allow(pair[0])
        pair[1].do(Forbid(GROUP))
        eventually(pair[0].holds)

    def test_of_the_standby_is_found_before_it_is_needed(self, pair: list[Director]) -> None:
        before = stop(pair[1])
        eventually(lambda: runs_anew(pair[1], before), 20)
        allow(pair[1])
        pair[0].do(Forbid(GROUP))
        eventually(pair[1].holds)

    def test_one_that_works_is_left_alone_whatever_it_waits_for(self, pair: list[Director]) -> None:
        pids = [one.pid("vrrp") for one in pair]
        time.sleep(3)
        pair[1].do(Forbid(GROUP))
        time.sleep(3)
        pair[0].run("ip link set eth0 down")
        time.sleep(3)
        assert [one.pid("vrrp") for one in pair] == pids


def stop(director: Director) -> int:
    pid = director.pid("vrrp")
    os.kill(pid, signal.SIGSTOP)
    return pid


def runs_anew(director: Director, before: int) -> bool:
    return (director.run_dir / "vrrp.pid").exists() and director.pid("vrrp") != before


class TestOrderlyEnd:
    def test_hands_over_at_once_and_leaves_nothing_behind(self, pair: list[Director]) -> None:
        since = time.time()
        pair[0].stop()
        moved(pair, since, within=0.1)
        left = pair[0].run(f"ip netns pids {pair[0].namespace} | xargs -r ps -o comm= -p").split()
        assert "keepalived" not in left
        assert not pair[0].call(pair[0].kernel.read).eligible
        assert not (pair[0].run_dir / "reload").exists()

    def test_without_instances_the_supervisor_waits(self, tmp_path: Path) -> None:
        with segment(tmp_path, 1) as [only]:
            only.start()
            time.sleep(0.5)
            assert only.supervisor.poll() is None
            configure([only])
            allow(only)
            eventually(only.holds)
            only.do(ConfigureInstances(()))
            eventually(lambda: not only.addresses() & {TOKEN, *VIP, GATEWAY})
            only.stop()


class TestReload:
    def test_addresses_come_and_go_while_active_and_nobody_takes_over(self, pair: list[Director]) -> None:
        more = tuple(LinkAddress("eth0", ip_address("198.18.0.150") + number, 32) for number in range(50))
        since = time.time()
        for _ in range(3):
            for addresses in ((*VIP, GATEWAY, *more), (*VIP, GATEWAY)):
                configure(pair, addresses=addresses)
                eventually(pair[0].holds)
                gone = set(more) - set(addresses)
                eventually(lambda gone=gone: pair[0].addresses().isdisjoint(gone))  # type: ignore[misc]  # mypy infers no lambda with defaults
        time.sleep(0.5)
        assert [one for one in history(pair, TOKEN) if one.time > since] == []
        assert [one for one in history(pair, VIP[0]) if one.time > since] == []
        assert not pair[1].holds(TOKEN)

    def test_a_thousand_addresses_change_and_move_at_the_default_pace(self, pair: list[Director]) -> None:
        """keepalived says nothing while it reads its configuration anew: 0.12 s of that would be a take-over. And one
        that announces a thousand addresses must say in between that it is active, or it is taken over from in turn."""
        many = tuple(LinkAddress("eth0", ip_address("198.19.0.1") + number, 32) for number in range(1000))
        for count in (998, 999, 1000):
            configure(pair, interval=20, missed=7, addresses=(*VIP, GATEWAY, *many[:count]))
            eventually(lambda count=count: history(pair[:1], many[count - 1]), 20)  # type: ignore[misc]  # mypy infers no lambda with defaults
            time.sleep(1.5)
        assert [one.director for one in history(pair, TOKEN)] == [pair[0].name], "it has been active all the time"
        began = time.time()
        pair[0].kill("vrrp")
        eventually(lambda: history(pair[1:], many[-1]), 20)
        time.sleep(1.5)
        found = [(one.director, one.came) for one in history(pair, TOKEN) if one.time > began]
        assert sorted(found) == [(pair[0].name, False), (pair[1].name, True)], "it moved once"
        print(f"the last address moved after {history(pair[1:], many[-1])[0].time - began:.3f} s")

    def test_directors_that_know_different_addresses_do_not_disagree(self, pair: list[Director]) -> None:
        since = time.time()
        configure(pair[1:], addresses=VIP[:1])
        time.sleep(1.5)
        assert [one for one in history(pair, TOKEN) if one.time > since] == []

    def test_an_address_that_vanishes_moves_nothing(self, pair: list[Director]) -> None:
        pair[0].run(f"ip address del {VIP[0].address}/32 dev eth0")
        time.sleep(1)
        assert pair[0].holds(TOKEN, VIP[1])
        assert not pair[1].holds(TOKEN)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("unicast", [False, True])
def test_the_ways_of_advertising(tmp_path: Path, version: int, unicast: bool) -> None:
    with segment(tmp_path) as directors:
        ends = [ip_address(f"198.18.0.{one.number}" if version == 4 else f"fd00:18::{one.number}") for one in directors]
        for one, source, peer in zip(directors, ends, reversed(ends), strict=True):
            configure([one], version=version, **({"source": source, "peers": (peer,)} if unicast else {}))
            one.start()
            allow(one)
            eventually(directors[0].holds)
        time.sleep(1)
        assert not directors[1].holds(TOKEN)
        since = time.time()
        directors[0].do(Forbid(GROUP))
        moved(directors, since, within=0.1)
        directors[1].kill("vrrp")
        eventually(lambda: directors[1].addresses().isdisjoint({TOKEN, *VIP}))
