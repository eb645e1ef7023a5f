"""The harness that measures failovers, held to what is known: keepalived set up by hand, and faults done to it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from failover import history, measure, nemesis
from failover.byhand import VIP, ByHand
from failover.measure import Age
from failover.running import state, watched
from failover.subject import DIRECTORS, WAYS
from lab import names
from lab.lab import Lab


@pytest.fixture(scope="module")
def subject() -> Iterator[ByHand]:
    with Lab(names.beside(names.of_tests(), "three"), topology="three", quiet=True) as lab:
        made = ByHand(lab, tuned=True, freeze=True)
        made.prepare(WAYS["DirectRouting"], "mh")
        yield made


def other(active: str) -> str:
    return next(name for name in DIRECTORS if name != active)


def test_a_frozen_kernel_looks_as_a_killed_one_and_either_is_one_move(subject: ByHand) -> None:
    for freeze in (True, False):
        subject.freeze = freeze
        subject.table_empty()
        active = subject.active()
        with watched(subject.lab, VIP) as seen:
            time.sleep(1)
            subject.crash(active)
            time.sleep(3)
        subject.restore(active)
        assert history.moved(seen, VIP, active, other(active)) == []
        assert history.one_owner(seen) == []
        assert 0.05 < seen.owners(VIP).silent < 2
    subject.freeze = True


def test_connections_that_are_mirrored_live_and_those_that_are_not_are_counted(subject: ByHand) -> None:
    used = measure.crash(subject.lab, subject, VIP, [Age("0s", 0), Age("1s", 1)], 100)
    assert {name: (one.lost, one.echo) for name, one in used.used.items()} == {"0s": (0, 50), "1s": (0, 50)}
    assert 0.1 < used.pause < 5
    plain = ByHand(subject.lab, freeze=True)
    vip = plain.prepare(WAYS["DirectRouting"], "rr")
    never_used = measure.crash(subject.lab, plain, vip, [Age("handshake", 1, handshake=True)], 50)
    assert (never_used.lost, never_used.used["handshake"].reset) == (50, 50)
    subject.prepare(WAYS["DirectRouting"], "mh")


def test_a_partition_has_two_owners_and_heals(subject: ByHand) -> None:
    subject.table_empty()
    active = subject.active()
    with watched(subject.lab, VIP) as seen:
        time.sleep(1)
        with nemesis.partition(subject.lab):
            time.sleep(2)
            assert seen.seen == []  # complete only afterwards
        time.sleep(3)
    assert sum(end - start for start, end in seen.owners(VIP).doubled) > 0.5
    assert history.one_owner(seen, window=1e-3)
    assert seen.owners(VIP).last == subject.active()
    assert active in seen.owners(VIP).order


def test_a_pulled_cable_moves_the_address_and_a_clock_that_jumps_does_not(subject: ByHand) -> None:
    subject.table_empty()
    active = subject.active()
    with watched(subject.lab, VIP) as seen:
        time.sleep(1)
        with nemesis.clock(subject.lab, active, 3600):
            time.sleep(1)
        assert subject.active() == active
        with nemesis.cut(subject.lab, active):
            time.sleep(3)
    assert history.moved(seen, VIP, active, other(active)) == []


def test_a_stopped_keepalived_leaves_its_address_behind(subject: ByHand) -> None:
    subject.table_empty()
    active = subject.active()
    with watched(subject.lab, VIP) as seen:
        with nemesis.stopped(subject.lab, active, "keepalived"):
            time.sleep(3)
            held = {name: f"{VIP}/32" in state(subject.lab, name)["addresses"] for name in DIRECTORS}
        time.sleep(2)
    assert held == {active: True, other(active): True}
    assert history.one_owner(seen, window=0.5)


DATAGRAMS = """\
import socket
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(200):
    link.sendto(b"x", ("198.18.0.12", 9999))
"""


@pytest.mark.parametrize("percent", [1, 5])
def test_loss_is_exact(subject: ByHand, percent: int) -> None:
    host = subject.lab.host("director-2")
    with nemesis.loss(subject.lab, "director-2", percent, "-p udp --dport 9999"):
        subject.lab.host("client").run(["python", "-c", DATAGRAMS])
        (rule,) = [line for line in host.run("iptables-legacy -t raw -vxnL").out.splitlines() if "statistic" in line]
    assert int(rule.split()[0]) == 2 * percent
    assert "statistic" not in host.run("iptables-legacy -t raw -S").out
