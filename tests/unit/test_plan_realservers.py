"""What the endpoints of a Service become."""

from __future__ import annotations

from typing import Any

from unit.builders import Json, endpoint, endpoint_slice, service, store, virtual_server
from virtualserver.api.reasons import Reason
from virtualserver.plan.realservers import Candidate, Wish, resolve


def candidates(*endpoints: Json, **spec: Any) -> list[Candidate]:
    server = virtual_server(realServers=[{"service": {"name": "web"}}], **spec)
    world = store(
        virtual_servers=[server], services=[service()], slices=[endpoint_slice("web-1", "web", *endpoints)]
    ).world()
    by_port, problems = resolve(world, next(iter(world.virtual_servers.values())))
    assert not problems
    return next(iter(by_port.values()))


def test_ready_endpoints_serve_on_the_port_of_their_slice() -> None:
    found = candidates(endpoint("10.244.1.5", ready=True))
    assert [(str(one.key), one.wish, one.source) for one in found] == [("10.244.1.5:8080", Wish.SERVE, "Service/web")]


def test_an_endpoint_without_conditions_is_ready() -> None:
    assert candidates({"addresses": ["10.244.1.5"]})[0].wish is Wish.SERVE


def test_a_terminating_endpoint_finishes_what_it_has() -> None:
    found = candidates(
        endpoint("10.244.1.5", ready=True), endpoint("10.244.1.6", ready=False, serving=True, terminating=True)
    )
    assert [(one.wish, one.reason) for one in found] == [
        (Wish.SERVE, Reason.NOT_CHECKED_YET),
        (Wish.DRAIN, Reason.ENDPOINT_TERMINATING),
    ]


def test_terminating_endpoints_serve_on_while_nobody_is_ready() -> None:
    found = candidates(
        endpoint("10.244.1.5", ready=False, serving=True, terminating=True),
        endpoint("10.244.1.6", ready=False, serving=False, terminating=True),
    )
    assert [one.wish for one in found] == [Wish.SERVE, Wish.DRAIN]


def test_an_endpoint_that_is_not_ready_stays_out() -> None:
    assert candidates(endpoint("10.244.1.5", ready=False))[0].wish is Wish.STAY_OUT


def test_an_endpoint_at_a_forbidden_address_stays_out() -> None:
    found = candidates(endpoint("169.254.169.254", ready=True))
    assert (found[0].wish, found[0].reason) == (Wish.STAY_OUT, Reason.ENDPOINT_FORBIDDEN)


def test_real_servers_come_in_one_order_whatever_the_spec_says() -> None:
    server = virtual_server(realServers=[{"address": "198.18.1.22"}, {"address": "198.18.1.21"}])
    world = store(virtual_servers=[server]).world()
    by_port, _ = resolve(world, next(iter(world.virtual_servers.values())))
    assert [str(one.key) for one in next(iter(by_port.values()))] == ["198.18.1.21:80", "198.18.1.22:80"]


def test_admin_states_decide_before_any_monitor() -> None:
    server = virtual_server(
        realServers=[
            {"address": "198.18.1.21", "adminState": "Draining"},
            {"address": "198.18.1.22", "adminState": "Offline"},
        ]
    )
    world = store(virtual_servers=[server]).world()
    by_port, _ = resolve(world, next(iter(world.virtual_servers.values())))
    assert [one.wish for one in next(iter(by_port.values()))] == [Wish.DRAIN, Wish.STAY_OUT]
