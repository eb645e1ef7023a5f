"""A real server whose mode changes: which entries of the kernel serve it, and for how long."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from virtualserver.model.types import DestinationContent, DestinationKey, ForwardingMethod, Service, ServiceContent
from virtualserver.plan.succession import succeeded

RS, HEIR = DestinationKey(ip_address("198.18.0.31"), 80), DestinationKey(ip_address("198.18.0.31"), 0)
NAT, TUNNEL = DestinationContent(1), DestinationContent(1, ForwardingMethod.TUNNEL)
DIRECT = DestinationContent(1, ForwardingMethod.DIRECT_ROUTING)


def service(**entries: DestinationContent) -> Service:
    return Service(ServiceContent("rr"), {RS if name == "own" else HEIR: one for name, one in entries.items()})


def after(wanted: Service, found: Service, *, expired: bool = False) -> Service:
    return succeeded(wanted, found, lambda _: expired)


def quiet(content: DestinationContent) -> DestinationContent:
    return DestinationContent(0, content.method)


@pytest.mark.parametrize("before", [NAT, TUNNEL])
def test_direct_routing_has_an_entry_of_its_own_beside_the_old_one(before: DestinationContent) -> None:
    wanted = service(heir=DIRECT)
    changed = after(wanted, service(own=before))
    assert changed == service(own=quiet(before), heir=DIRECT)
    assert after(wanted, changed) == changed, "and that stays so"
    assert after(wanted, changed, expired=True) == wanted
    assert after(wanted, wanted) == wanted


@pytest.mark.parametrize("next_one", [NAT, TUNNEL])
def test_the_way_back_keeps_the_entry_of_direct_routing_while_connections_may_live(
    next_one: DestinationContent,
) -> None:
    changed = after(service(own=next_one), service(heir=DIRECT))
    assert changed == service(own=next_one, heir=quiet(DIRECT))
    assert after(service(own=next_one), changed, expired=True) == service(own=next_one)


def test_an_entry_of_direct_routing_with_a_port_is_of_an_earlier_version_and_is_used_up() -> None:
    changed = after(service(heir=DIRECT), service(own=DIRECT))
    assert changed == service(own=quiet(DIRECT), heir=DIRECT)
    assert after(service(heir=DIRECT), changed, expired=True) == service(heir=DIRECT)


@pytest.mark.parametrize("content", [NAT, TUNNEL])
def test_another_port_of_the_same_mode_is_another_real_server_and_goes_at_once(content: DestinationContent) -> None:
    assert after(service(heir=content), service(own=content)) == service(heir=content)


@pytest.mark.parametrize("entry", [{"own": NAT}, {"own": TUNNEL}, {"heir": DIRECT}])
def test_where_no_mode_changes_nothing_is_different(entry: dict[str, DestinationContent]) -> None:
    for found in (service(), service(**entry)):
        assert after(service(**entry), found) == service(**entry)


def test_nat_becomes_a_tunnel_in_place() -> None:
    assert after(service(own=TUNNEL), service(own=NAT)) == service(own=TUNNEL)


def test_the_node_of_pods_keeps_its_entry_while_nat_knows_the_pods_themselves() -> None:
    pod = DestinationKey(ip_address("10.244.31.11"), 80)
    wanted = Service(ServiceContent("rr"), {pod: NAT})
    for old, content in ((RS, TUNNEL), (HEIR, DIRECT)):
        found = Service(ServiceContent("rr"), {old: content})
        assert succeeded(wanted, found, lambda _: False).destinations == {pod: NAT, old: quiet(content)}
        assert succeeded(wanted, found, lambda _: True) == wanted
    same_mode = Service(ServiceContent("rr"), {RS: NAT})
    assert succeeded(wanted, same_mode, lambda _: False) == wanted, "a real server that is gone is not kept"
    nobody = Service(ServiceContent("rr"))
    assert succeeded(nobody, same_mode, lambda _: False) == nobody
