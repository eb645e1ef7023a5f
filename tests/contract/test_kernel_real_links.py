"""What only the real kernel can show of links of ours. Collected only with VS_CONTRACT=netlink."""

from __future__ import annotations

import errno

import pytest

from contract.build import do, refused
from contract.worlds import run
from virtualserver.kernel.netlink import Netlink
from virtualserver.kernel.port import Kernel
from virtualserver.model.operations import AddDecapsulation, AddLink, RaiseLink
from virtualserver.model.types import Decapsulation, LinkKind, OwnLink


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
