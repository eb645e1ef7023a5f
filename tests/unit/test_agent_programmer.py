"""The programmer against a kernel that refuses what the real one refuses, once, for ever, or that others change."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from unit.builders import WEB, director_group, store, virtual_server
from virtualserver.agent.programmer import Programmer, Round
from virtualserver.agent.record import Record
from virtualserver.api.enums import RealServerState
from virtualserver.api.reasons import Reason
from virtualserver.kernel.fake import FakeKernel
from virtualserver.model.operations import AddAddress, Operation, Outcome, WriteSysctl
from virtualserver.model.types import DestinationContent, DestinationKey, LinkAddress, State
from virtualserver.plan import desired, settings, vrrp
from virtualserver.plan.desired import Circumstances, Plan
from virtualserver.plan.eligibility import Standing
from virtualserver.plan.health import Health
from virtualserver.plan.verdicts import judge

UP = Health(RealServerState.UP, Reason.MONITOR_SUCCEEDED)
DOWN = Health(RealServerState.DOWN, Reason.CONNECTION_REFUSED)
NAMES = settings.names({"eth0", "eth1"})
SERVER = virtual_server(
    addresses=["198.18.0.100", "fd00:18::100"],
    realServers=[{"address": "198.18.1.21"}, {"address": "198.18.1.22"}, {"address": "fd00:18:1::21"}],
)
GROUPS = [director_group(gateway={"interface": "eth1", "addresses": ["198.18.1.1"]})]
Fail = Callable[[int, Operation], int]


class Kernel(FakeKernel):
    """Notes in which order it is called."""

    def __init__(self, links: Iterable[str], fail: Fail | None) -> None:
        super().__init__(links, fail=fail)
        self.calls: list[str] = []
        self.rules_read = 0

    def read(self, sysctls: Sequence[str] = (), *, rules: bool = False) -> State:
        self.calls.append("read")
        self.rules_read += rules
        return super().read(sysctls, rules=rules)

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        self.calls.append("apply")
        return super().apply(operations)


class Node:
    """A director with a kernel in memory and a record on disk."""

    def __init__(self, folder: Path, fail: Fail | None = None) -> None:
        self.folder = folder
        self.now = 0.0
        self.kernel = Kernel(("lo", "eth0", "eth1"), fail)
        self.health: dict[str, Health] = {}
        self.servers = [SERVER]
        self.rules_cost = 0.0
        self.start()

    def start(self) -> None:
        record = Record(self.folder / "record.json")
        self.programmer = Programmer(self.kernel, record, lambda: self.now, spent=self.spent)

    def spent(self) -> float:
        return self.kernel.rules_read * self.rules_cost

    def plan(self, actual: State, circumstances: Circumstances) -> Plan:
        world = store(virtual_servers=self.servers, groups=GROUPS).world()
        standing = Standing(vrrp.active(world, "director-1", actual))
        circumstances = replace(circumstances, standing=standing)
        return desired.plan(
            world, judge(world), lambda _, one: self.health.get(str(one.address), UP), "director-1", circumstances
        )

    def round(self, *, complete: bool = True) -> Round:
        return self.programmer.round(self.plan, lambda _: NAMES, complete=complete)

    @property
    def announced(self) -> set[str]:
        return {str(one.address) for one in self.kernel.addresses if one.link == "eth0"}

    def safe(self) -> bool:
        """No address is announced over a table that is not as intended."""
        plan = self.plan(State(), Circumstances())
        wrong = {str(k.address) for k, one in plan.state.services.items() if self.kernel.services.get(k) != one}
        return not (self.announced & wrong)


def test_a_virtual_server_is_programmed_and_announced(tmp_path: Path) -> None:
    node = Node(tmp_path)
    done = node.round()
    assert not done.problems
    assert node.announced == {"198.18.0.100", "fd00:18::100"}
    assert node.safe()


def test_a_second_round_and_a_restarted_agent_write_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.round()
    node.now += 120
    node.round()
    before = node.kernel.writes
    node.round()
    node.start()
    done = node.round()
    assert not done.applied
    assert node.kernel.writes == before


@pytest.mark.parametrize(("cost", "pause"), [(0.01, 10), (0.3, 30), (5.0, 60)])
def test_rules_that_are_many_are_looked_at_less_often_but_once_a_minute(
    tmp_path: Path, cost: float, pause: int
) -> None:
    node = Node(tmp_path)
    node.rules_cost = cost
    for _ in range(3):
        node.round()
    before = node.kernel.rules_read
    for second in range(pause):
        node.now = float(second)
        node.round()
    assert node.kernel.rules_read == before
    node.now = float(pause)
    node.round()
    assert node.kernel.rules_read == before + 1


def test_a_change_that_the_kernel_keeps_refusing_withdraws_the_address_and_says_why(tmp_path: Path) -> None:
    refuse = False

    def fail(_number: int, operation: Operation) -> int:
        return errno.ENOMEM if refuse and type(operation).__name__ == "SetService" else 0

    node = Node(tmp_path, fail)
    node.round()
    refuse = True
    node.servers = [replace_spec(SERVER, scheduler={"name": "rr"})]
    for _ in range(3):
        done = node.round()
    done = node.round()
    assert node.announced == set()
    assert done.problems[WEB].reason is Reason.KERNEL_REFUSED
    refuse = False
    node.now += 60
    node.round()
    assert node.announced == {"198.18.0.100", "fd00:18::100"}


def replace_spec(server: dict[str, dict[str, object]], **spec: object) -> dict[str, dict[str, object]]:
    return {**server, "spec": {**server["spec"], **spec}}


def test_a_flush_is_repaired_and_connections_wait_for_it(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.round()
    node.health["198.18.1.22"] = DOWN
    node.round()
    assert node.kernel.sysctls[settings.EXPIRE] == "1"
    node.kernel.flush()
    seen: list[str] = []

    original = node.kernel.apply

    def watching(operations: tuple[Operation, ...]) -> object:
        for operation in operations:
            outcome = original([operation])
            seen.append(f"{type(operation).__name__} {node.kernel.sysctls[settings.EXPIRE]}")
            outcomes.append(outcome[0])
        return [outcomes.pop(0) for _ in operations]

    outcomes: list[object] = []
    node.kernel.apply = watching  # type: ignore[method-assign,assignment]  # replaced for this test
    done = node.round()
    assert node.safe()
    assert not done.problems
    added = [line for line in seen if line.startswith(("AddService", "AddDestination"))]
    assert added
    assert all(line.endswith(" 0") for line in added)


def test_connections_to_a_real_server_that_leaves_end_and_others_wait_for_a_repair_soon_after(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.round()
    assert node.kernel.sysctls[settings.EXPIRE] == "0"
    node.health["198.18.1.22"] = DOWN
    done = node.round()
    kinds = [type(operation).__name__ for operation in done.applied]
    assert kinds.index("WriteSysctl") < kinds.index("RemoveDestination")
    assert node.kernel.sysctls[settings.EXPIRE] == "1"
    node.now += 3
    node.round()
    assert node.kernel.sysctls[settings.EXPIRE] == "0"


def test_what_others_made_is_never_touched(tmp_path: Path) -> None:
    node = Node(tmp_path)
    plan = node.plan(State(), Circumstances())
    key, service = next(iter(plan.state.services.items()))
    foreign = replace(service, destinations={DestinationKey(key.address, 9): DestinationContent(1)})
    node.kernel.services[key] = foreign
    done = node.round()
    assert done.problems[WEB].reason is Reason.FOREIGN_SERVICE
    assert node.kernel.services == {key: foreign}
    assert node.announced == set()
    del node.kernel.services[key]
    node.round()
    assert node.announced == {"198.18.0.100", "fd00:18::100"}


def test_an_address_that_was_there_before_is_left_alone_and_named(tmp_path: Path) -> None:
    node = Node(tmp_path)
    theirs = LinkAddress("eth0", ip_address("198.18.0.100"), 24)
    node.kernel.addresses.add(theirs)
    done = node.round()
    assert done.problems[WEB].reason is Reason.FOREIGN_ADDRESS
    assert {one for one in node.kernel.addresses if one.link != "lo"} == {theirs}


def test_a_deleted_virtual_server_leaves_nothing_also_after_a_restart(tmp_path: Path) -> None:
    node = Node(tmp_path)
    before = dict(node.kernel.sysctls)
    node.round()
    node.start()
    node.servers = []
    node.round(complete=False)
    assert node.kernel.services, "nothing is removed from partial knowledge"
    node.round()
    assert not node.kernel.services
    assert {one.link for one in node.kernel.addresses} == {"lo"}, "who is active is settled without any, too"
    assert node.kernel.sysctls == before


def test_a_missing_link_is_named(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.kernel.links.remove("eth0")
    done = node.round()
    assert done.problems[WEB].reason is Reason.LINK_NOT_FOUND
    assert "eth0" in done.problems[WEB].message
    assert not node.kernel.services


def test_a_gateway_that_cannot_be_set_is_said_of_those_who_need_it(tmp_path: Path) -> None:
    def fail(_number: int, operation: Operation) -> int:
        return errno.ENOMEM if isinstance(operation, AddAddress) and operation.address.link == "eth1" else 0

    node = Node(tmp_path, fail)
    node.round()
    node.kernel.addresses = {one for one in node.kernel.addresses if one.link != "eth1"}
    node.round()
    node.now += 2  # keepalived does not put it back
    done = node.round()
    assert done.problems[WEB].reason is Reason.KERNEL_REFUSED
    assert "198.18.1.1" in done.problems[WEB].message
    for _ in range(3):
        node.round()
    assert node.announced == set(), "real servers have no way back: nothing is announced"


def test_a_change_is_written_before_a_large_table_is_read_again(tmp_path: Path) -> None:
    node = Node(tmp_path)
    for _ in range(2):
        node.now += 60
        node.round()
    node.kernel.calls.clear()
    node.servers = [replace_spec(SERVER, scheduler={"name": "rr"})]
    done = node.round()
    assert node.kernel.calls == ["apply", "read"]
    assert len(done.applied) == 2
    assert node.safe()


def test_a_change_together_with_another_programs_flush_ends_as_wanted(tmp_path: Path) -> None:
    node = Node(tmp_path)
    for _ in range(2):
        node.now += 60
        node.round()
    node.kernel.flush()
    node.servers = [replace_spec(SERVER, scheduler={"name": "rr"})]
    done = node.round()
    assert not done.problems
    assert node.safe()
    assert node.announced == {"198.18.0.100", "fd00:18::100"}


ONLY_IPV4 = replace_spec(SERVER, addresses=["198.18.0.100"], realServers=[{"address": "198.18.1.21"}])


def test_forwarding_is_switched_on_only_after_a_look_at_the_links_as_they_are_now(tmp_path: Path) -> None:
    node = Node(tmp_path)
    for link in ("eth0", "eth1"):
        node.kernel.sysctls[f"net.ipv6.conf.{link}.accept_ra"] = "0"
    node.servers = [ONLY_IPV4]
    node.round()
    node.kernel.sysctls["net.ipv6.conf.eth2.accept_ra"] = "1"
    node.kernel.links.add("eth2")
    node.kernel.hear_router("eth2")
    node.now += 1
    node.servers = [SERVER]
    node.round()
    assert node.kernel.sysctls[settings.FORWARD_IPV6] == "1"
    assert node.kernel.routers == {"eth2"}


def test_a_link_that_cannot_be_made_to_take_advertisements_keeps_forwarding_off_and_says_so(tmp_path: Path) -> None:
    def fail(_number: int, operation: Operation) -> int:
        return errno.EROFS if isinstance(operation, WriteSysctl) and operation.name.endswith("eth1.accept_ra") else 0

    node = Node(tmp_path, fail)
    node.kernel.hear_router("eth1")
    done = node.round()
    assert node.kernel.routers == {"eth1"}
    assert done.problems[WEB].reason is Reason.KERNEL_REFUSED
    assert "eth1.accept_ra" in done.problems[WEB].message


def test_links_that_come_and_go_are_taken_care_of_and_forgotten(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.round()
    accepts = "net.ipv6.conf.veth7.accept_ra"
    node.kernel.links.add("veth7")
    node.kernel.sysctls[accepts] = "1"
    node.now += 11
    node.round()
    assert node.kernel.sysctls[accepts] == "2"
    assert node.programmer.owned.sysctls[accepts] == "1"
    node.kernel.remove_link("veth7")
    node.now += 11
    node.servers = []
    node.round()
    assert not node.programmer.owned.sysctls
    assert not [name for name, value in node.kernel.sysctls.items() if value == "2"]


def test_a_link_that_another_program_closes_to_advertisements_stays_closed(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.round()
    node.kernel.sysctls["net.ipv6.conf.eth1.accept_ra"] = "0"
    for servers in ([SERVER], []):
        node.now += 11
        node.servers = servers
        node.round()
        assert node.kernel.sysctls["net.ipv6.conf.eth1.accept_ra"] == "0"
    assert not node.programmer.owned.sysctls
