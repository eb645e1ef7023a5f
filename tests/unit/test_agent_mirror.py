"""A standby gets what it lacks of the active director's connections before it may take over."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from unit.standby import GROUP, RECEIVER, Case, following, line
from unit.standby import threads_are_calls as threads_are_calls
from virtualserver.agent.following import EVERY, HURRY, LONGEST, PASSES, PATIENCE, REPAIR
from virtualserver.api.enums import MirrorState
from virtualserver.kernel import connections
from virtualserver.kernel.port import KernelError
from virtualserver.plan.eligibility import Standing

pytestmark = pytest.mark.usefixtures("threads_are_calls")


def test_a_director_that_returns_gets_what_it_lacks_and_only_then_is_not_behind() -> None:
    case = Case(1000, 1001, 1002)
    case.own = {line(1001, origin="SYNC")}
    case.theirs += ["IP  no connection of ours", ""]

    async def check() -> None:
        assert case.mirror.behind(GROUP)
        await asyncio.sleep(2)
        assert not case.mirror.behind(GROUP)
        assert sorted(case.injected) == [1000, 1002]
        assert case.told is MirrorState.IN_STEP
        assert case.wakes > 0

    following(case, check)


def test_what_was_lost_on_the_way_is_sent_again() -> None:
    case = Case(*range(1000, 1100))
    case.lost = 150

    async def check() -> None:
        await asyncio.sleep(3)
        assert not case.mirror.behind(GROUP)
        assert len(case.own) == 100
        assert len(case.injected) == 250

    following(case, check)


def test_a_single_idle_connection_whose_message_was_lost_comes_soon() -> None:
    """It would never be sent again; 1 of 1,000 is in step all the same."""
    case = Case(*range(1000, 2000))

    async def check() -> None:
        await asyncio.sleep(3)
        assert len(case.own) == 1000
        await asyncio.sleep(60)
        lost = min(case.own)
        case.own.remove(lost)
        await asyncio.sleep(2 * EVERY + 1)
        assert case.told is MirrorState.IN_STEP
        assert lost in case.own

    following(case, check)


@pytest.mark.parametrize("others", [10, 3000])
def test_a_client_that_is_kept_elsewhere_is_kept_where_the_active_director_keeps_it(others: int) -> None:
    """A template to another real server stays in the kernel as it is, whatever it is told, until it ends."""
    case = Case(*range(1000, 1000 + others), persistence={"type": "SourceAddress", "timeout": "90s"})
    case.own = {*case.theirs, line(0, "ASSURED", server="C6120116", origin="SYNC")}
    case.theirs.append(line(0, "ASSURED"))

    async def check() -> None:
        await asyncio.sleep(8)
        assert [one for one in case.own if " 0000 C6120064" in one] == [line(0, "ASSURED", origin="SYNC")]
        assert not case.mirror.behind(GROUP)

    following(case, check)


def test_what_began_while_the_active_director_was_not_heard_is_fetched_as_soon_as_it_is() -> None:
    """This node's link was cut for a while: it may have to take over at any time."""
    case = Case(*range(1000, 1100))

    async def check() -> None:
        await asyncio.sleep(20)
        case.is_taken = False
        await asyncio.sleep(60)
        case.theirs += [line(port) for port in range(5000, 5100)]
        case.is_taken = True
        await asyncio.sleep(1)
        assert len(case.own) == 200

    following(case, check)


def test_clients_that_come_all_the_time_do_not_delay_catching_up() -> None:
    """Of each that has come since, the template is missing for a moment; only what stays missing is in the way."""
    case = Case(*range(1000, 1100), persistence={"type": "SourceAddress", "timeout": "90s"})
    clients = iter(range(0xC6120003, 0xC6120060))

    def come() -> None:
        case.theirs.append(line(0, "ASSURED", client=f"{next(clients):08X}"))

    case.at_ask = come

    async def check() -> None:
        await asyncio.sleep(1)
        assert not case.mirror.behind(GROUP)
        assert case.asked <= 2, "the whole table once, and a sample"
        assert len([one for one in case.own if " 0000 C6120064" in one]) == 1

    following(case, check)


def test_what_began_while_nothing_could_be_received_is_fetched() -> None:
    """As while the connections of another group of the node are being forgotten."""
    case = Case(*range(1000, 1020))

    async def check() -> None:
        await asyncio.sleep(20)
        receivers = case.view.actual.daemons if case.view is not None else frozenset()
        case.change(daemons=frozenset())
        await asyncio.sleep(1)
        case.theirs += [line(port) for port in range(5000, 5010)]
        case.change(daemons=receivers)
        await asyncio.sleep(1.5)
        assert len(case.own) == 30

    following(case, check)


def test_what_the_kernel_never_takes_is_not_asked_for_all_the_time() -> None:
    case = Case(*range(1000, 1100))

    async def check() -> None:
        await asyncio.sleep(60)
        case.lost, case.asked = 10**6, 0
        case.own.clear()
        await asyncio.sleep(60)
        assert 60 / EVERY < case.asked < 60 / EVERY + 60 / REPAIR * PASSES + 3

    following(case, check)


def test_what_the_kernel_never_takes_does_does_not_keep_it_behind_for_ever() -> None:
    case = Case(*range(1000, 1100))
    case.lost = 10**6

    async def check() -> None:
        await asyncio.sleep(PATIENCE - 1)
        assert case.mirror.behind(GROUP)
        await asyncio.sleep(5)
        assert not case.mirror.behind(GROUP)
        await asyncio.sleep(5)
        assert case.told is MirrorState.BEHIND

    following(case, check)


def test_connections_wait_for_their_real_servers_which_are_not_checked_yet_when_an_agent_starts() -> None:
    case = Case(*range(1000, 1100))
    assert case.view is not None
    whole = case.view.actual.services
    case.change(services={key: replace(one, destinations={}) for key, one in whole.items()})

    async def check() -> None:
        await asyncio.sleep(3)
        assert case.mirror.behind(GROUP)
        assert case.injected == []
        case.change(services=whole)
        await asyncio.sleep(2)
        assert not case.mirror.behind(GROUP)
        assert len(case.own) == 100

    following(case, check)


@pytest.mark.parametrize("what", ["refusal", "receiver", "services"])
def test_a_director_that_gets_nothing_may_take_over_all_the_same_after_a_while_and_says_why(what: str) -> None:
    case = Case(1000)
    words = {
        "refusal": "out of reach",
        "receiver": "spec.interface: this node has no link eth0",
        "services": "not programmed",
    }[what]
    if what == "refusal":
        case.refusal = words
    elif what == "receiver":
        case.change(daemons=frozenset())
    else:
        case.change(services={})

    async def check() -> None:
        await asyncio.sleep(PATIENCE - 1)
        assert case.mirror.behind(GROUP)
        assert case.told is None
        await asyncio.sleep(3)
        assert not case.mirror.behind(GROUP)
        assert case.report is not None
        assert case.report.state is MirrorState.UNKNOWN
        assert words in str(case.report.message)

    following(case, check)


def test_a_moment_out_of_reach_is_nothing() -> None:
    case = Case(1000)
    case.refusal = "out of reach"

    async def check() -> None:
        await asyncio.sleep(PATIENCE / 2)
        case.refusal = ""
        await asyncio.sleep(2)
        assert not case.mirror.behind(GROUP)
        assert case.told is MirrorState.IN_STEP

    following(case, check)


def test_who_hears_nobody_is_alone_and_waits_for_nobody() -> None:
    case = Case(1000)
    case.is_taken = False

    async def check() -> None:
        await asyncio.sleep(0.6)
        assert case.mirror.behind(GROUP), "advertisements of others may come yet"
        await asyncio.sleep(2)
        assert not case.mirror.behind(GROUP)
        assert case.told is MirrorState.ALONE
        assert not case.asked

    following(case, check)


def test_nobody_waits_for_an_active_director_that_crashed_while_it_told_its_connections() -> None:
    case = Case(1000)
    case.slowness = 3600

    async def check() -> None:
        await asyncio.sleep(30)
        assert case.mirror.behind(GROUP)
        case.is_taken = False
        await asyncio.sleep(1)
        assert case.mirror.behind(GROUP), "a third director may take over"
        await asyncio.sleep(2)
        assert not case.mirror.behind(GROUP)
        assert case.told is MirrorState.ALONE

    following(case, check)


def test_one_that_breaks_off_after_a_long_time_is_asked_again() -> None:
    case = Case(1000)
    case.slowness, case.break_off = PATIENCE * 2, "it breaks off"

    async def check() -> None:
        await asyncio.sleep(PATIENCE * 2 + 0.7)
        case.slowness, case.break_off = 0, ""
        assert case.mirror.behind(GROUP)
        await asyncio.sleep(2)
        assert not case.mirror.behind(GROUP)
        assert case.told is MirrorState.IN_STEP

    following(case, check)


def test_one_that_never_ends_telling_is_given_up() -> None:
    case = Case(1000)
    case.slowness = 3600

    async def check() -> None:
        await asyncio.sleep(LONGEST + 20)
        assert not case.mirror.behind(GROUP)
        assert case.told is MirrorState.UNKNOWN

    following(case, check)


@pytest.mark.parametrize("electing", [True, False])
def test_an_agent_that_restarts_on_a_director_that_may_take_over_goes_on(electing: bool) -> None:
    """Without keepalived, that it may is a word from before: perhaps from before the node itself restarted."""
    case = Case(1000)
    case.change(eligible=frozenset({GROUP}), electing=electing)

    async def check() -> None:
        await asyncio.sleep(1)
        assert not case.mirror.behind(GROUP)
        assert case.injected == ([] if electing else [1000])

    following(case, check)


def test_an_active_director_tells_nothing_and_catches_up_after_its_term() -> None:
    case = Case(1000)

    async def check() -> None:
        await asyncio.sleep(2)
        assert case.told is MirrorState.IN_STEP
        case.mirror.lapse({GROUP})  # as the programmer's thread does
        assert case.mirror.behind(GROUP)
        case.change(standing=Standing(active=frozenset({GROUP})))
        await asyncio.sleep(20)
        assert case.told is None
        asked = case.asked
        case.change(standing=Standing(purging=frozenset({GROUP})), daemons=frozenset())
        await asyncio.sleep(20)
        assert case.asked == asked
        case.own.clear()
        case.change(standing=Standing(), daemons=frozenset({RECEIVER}))
        await asyncio.sleep(1)
        assert not case.mirror.behind(GROUP)
        assert case.injected == [1000, 1000]

    following(case, check)


def test_a_planned_failover_is_answered_when_it_has_caught_up_once_more() -> None:
    case = Case(1000)
    answer = Case(1000, request="r-1").view

    async def check() -> None:
        await asyncio.sleep(2)
        case.theirs.append(line(1001))
        assert not case.mirror.caught_up(GROUP, "r-1")
        case.view = answer
        await asyncio.sleep(2)
        assert case.mirror.caught_up(GROUP, "r-1")
        assert case.injected == [1000, 1001]

    following(case, check)


def unreadable(_: str) -> int:
    raise KernelError("no answer")


@pytest.mark.parametrize(("what", "answered"), [("refusal", True), ("receiver", False), ("kernel", False)])
def test_a_planned_failover_from_a_director_whose_agent_is_out_of_reach_is_answered_after_a_while(
    monkeypatch: pytest.MonkeyPatch, what: str, answered: bool
) -> None:
    """Its kernel mirrors on by itself; but a node that has no receiver, or cannot read its own kernel, is not fit."""
    case = Case(1000, request="r-1")
    if what == "refusal":
        case.refusal = "out of reach"
    elif what == "receiver":
        case.change(daemons=frozenset())
    else:
        monkeypatch.setattr(connections, "key", unreadable)

    async def check() -> None:
        await asyncio.sleep(HURRY - 1)
        assert not case.mirror.caught_up(GROUP, "r-1")
        await asyncio.sleep(3)
        assert case.mirror.caught_up(GROUP, "r-1") is answered

    following(case, check)
