"""What only the real kernel can show of links of ours. Collected only with VS_CONTRACT=netlink."""

from __future__ import annotations

import errno
from ipaddress import ip_address

import pytest

from contract.build import do, refused
from contract.worlds import run
from virtualserver.kernel.netlink import Netlink
from virtualserver.kernel.port import Kernel
from virtualserver.model.operations import AddDecapsulation, AddLink, RaiseLink, ReplaceRules
from virtualserver.model.types import Admission, Clamp, Decapsulation, LinkKind, OwnLink, Rules


def test_people_see_whose_they_are(kernel: Kernel) -> None:
    do(kernel, AddLink("vs-a", OwnLink(LinkKind.DUMMY)), RaiseLink("vs-a"))
    assert "alias virtualserver" in run("ip link show group 30323")


@pytest.mark.parametrize("other", ["gue local 127.0.0.1", "ipproto 4"])
def test_a_port_that_takes_other_packets_is_none_of_these(kernel: Kernel, other: str) -> None:
    run(f"ip fou add port 6080 {other}")
    try:
        assert kernel.read().decapsulations == frozenset()
        assert refused(kernel, AddDecapsulation(Decapsulation(6080, 4))).errno == errno.EADDRINUSE
    finally:
        run(f"ip fou del port 6080 {other.removeprefix('gue').removeprefix('ipproto 4')}")


def test_family_number_may_change(kernel: Netlink) -> None:
    """As after a reload of the module: the old number belongs to nobody."""
    one = Decapsulation(6080, 4)
    do(kernel, AddDecapsulation(one))
    assert kernel.read().decapsulations == {one}
    assert kernel._fou._family
    kernel._fou._family += 50
    assert kernel.read().decapsulations == {one}


def test_links_are_told_apart_by_whether_they_answer_when_somebody_asks(kernel: Kernel) -> None:
    """What each answers was seen on the wire: ``tests/e2e/test_spare_links.py``."""
    before = kernel.read().asked
    run("ip netns add place-inner")
    try:
        for link in ("plain0 type veth peer name plain1", "inner0 type veth peer name eth0 netns place-inner"):
            run(f"ip link add {link}")
        for link in ("port0 type veth peer name port1", "bridge0 type bridge", "bundle0 type bond", "mute0 type dummy"):
            run(f"ip link add {link}")
        run("ip link set port0 master bridge0 && ip link set port1 master bundle0")
        run("ip link add link plain0 name above0 type macvlan && ip link set plain1 arp off")
        found = kernel.read()
    finally:
        run("ip netns del place-inner; for name in plain0 port0 bridge0 bundle0 mute0; do ip link del $name; done")
    assert found.asked - before == {"plain0", "above0", "inner0", "bridge0", "bundle0"}
    assert found.inward == {"inner0"}


_RULES = Rules(
    tunnelled=frozenset(Admission(6080, ip_address(one)) for one in ("198.18.1.11", "198.18.1.12", "fd00:18:1::11")),
    clamped=frozenset(Clamp(ip_address(one), 1400) for one in ("198.18.0.100", "fd00:18::100")),
    sealed=frozenset(ip_address(one) for one in ("198.18.0.100", "fd00:18::100")),
)


@pytest.mark.parametrize(
    "command",
    [
        "iptables-legacy -t mangle -D INPUT -j VIRTUALSERVER-GUE",
        "iptables-legacy -t mangle -F VIRTUALSERVER-GUE",
        "iptables-legacy -t mangle -I VIRTUALSERVER-GUE -j ACCEPT",
        "iptables-legacy -t mangle -D VIRTUALSERVER-GUE 3",
        "ip6tables-legacy -t mangle -D VIRTUALSERVER-GUE 1",
        "ip6tables-legacy -t mangle -F",
        "iptables-legacy -t mangle -D POSTROUTING 1",
        "ip6tables-legacy -t mangle -F VIRTUALSERVER-MSS",
        "iptables-legacy -t mangle -D INPUT -i gre0 -j VIRTUALSERVER-SEAL",
        "ip6tables-legacy -t mangle -I VIRTUALSERVER-SEAL -j RETURN",
    ],
)
def test_another_hand_in_the_tables_is_seen_and_repaired(kernel: Kernel, command: str) -> None:
    do(kernel, ReplaceRules(_RULES))
    run(command)
    assert kernel.read(rules=True).rules != _RULES
    do(kernel, ReplaceRules(_RULES))
    assert kernel.read(rules=True).rules == _RULES


def test_rules_of_others_in_the_same_table_stay(kernel: Kernel) -> None:
    run("iptables-legacy -t mangle -A INPUT -p icmp -j ACCEPT")
    saved = "iptables-legacy-save -t mangle | grep '^-'"
    before = run(saved)
    do(kernel, ReplaceRules(_RULES))
    assert before in run(saved)
    do(kernel, ReplaceRules(Rules()))
    assert run(saved) == before
    run("iptables-legacy -t mangle -F")
