"""keepalived itself says whether it understands what we tell it."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from virtualserver.model.failover import Instance
from virtualserver.model.operations import ConfigureInstances
from virtualserver.model.types import LinkAddress
from vrrp.directors import Director, segment

MANY = tuple(
    LinkAddress("eth0", ip_address(first) + number, prefix)
    for first, prefix in (("10.0.0.1", 32), ("fd00:18::1", 128))
    for number in range(4000)
)
GATEWAYS = (LinkAddress("eth0", ip_address("10.77.0.1"), 24), LinkAddress("eth0", ip_address("fd77::1"), 64))
ENDS = {
    4: [ip_address("198.18.0.11"), ip_address("198.18.0.12")],
    6: [ip_address("fd00:18::11"), ip_address("fd00:18::12")],
}


def instance(number: int, version: int, *, unicast: bool, **more: object) -> Instance:
    source, *peers = ENDS[version] if unicast else [None]
    found = {"links": ("eth0", "eth1"), "source": source, "peers": tuple(peers), "version": version, **more}
    return Instance(f"group-{number}.{'x' * 200}", number, "eth0", 100, 3, 250 - number, **found)  # type: ignore[arg-type]  # keywords of several types


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("unicast", [False, True])
def test_keepalived_takes_several_groups_with_thousands_of_addresses(
    tmp_path: Path, version: int, unicast: bool
) -> None:
    instances = [
        instance(1, version, unicast=unicast, addresses=MANY),
        instance(2, version, unicast=unicast, addresses=GATEWAYS, preempt_delay=2.5),
        instance(3, version, unicast=unicast, preempt_delay=0.0),
    ]
    with segment(tmp_path, 1) as [director]:
        director.run("ip link add eth1 type veth peer name eth2")
        director.do(ConfigureInstances(tuple(instances)))
        assert complaints(director) == []


def test_a_mistake_would_be_seen(tmp_path: Path) -> None:
    with segment(tmp_path, 1) as [director]:
        director.do(ConfigureInstances((instance(1, 4, unicast=False),)))
        file = director.run_dir / "keepalived.conf"
        file.write_text(file.read_text().replace("nopreempt", "nopreemption"))
        assert any("nopreemption" in line for line in complaints(director))


def complaints(director: Director) -> list[str]:
    test = f"keepalived --vrrp --config-test --use-file={director.run_dir}/keepalived.conf"
    return director.run(f"{test} 2>&1 || echo exit code $?").splitlines()
