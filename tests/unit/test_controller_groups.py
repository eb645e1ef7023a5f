"""What the controller makes of the words of directors."""

from __future__ import annotations

from typing import Any

import pytest

from unit.builders import director
from virtualserver.controller.groups import (
    GroupsSeen,
    available,
    degraded,
    failover_note,
    mirrored,
    standbys,
)
from virtualserver.plan.groupseen import GroupSeen, group_seen


def seen(*said: Any, active: str | None = "director-1", silent: tuple[str, ...] = (), **status: Any) -> GroupSeen:
    return group_seen({"directors": list(said), "activeDirector": active, **status}, silent)


ONE = director()
TWO = director("director-2", "Standby", 249)
SICK = director("director-2", "NotReady", reason="LinkDown", message="eth0 has no carrier")


def words(found: Any) -> tuple[bool, str, bool]:
    finding, known = found
    return finding.ok, finding.reason, known


def test_a_director_that_is_active_makes_the_group_available() -> None:
    assert words(available(seen(ONE, TWO))) == (True, "DirectorActive", True)
    finding, _ = available(seen(ONE, TWO))
    assert finding.message == "director-1 holds the virtual addresses"


def test_without_one_the_directors_say_why() -> None:
    finding, known = available(seen(director(role="Standby"), SICK, active=None))
    assert (finding.ok, finding.reason, known) == (False, "NoActiveDirector", True)
    assert "director-2 is NotReady (LinkDown: eth0 has no carrier)" in finding.message


def test_of_a_silent_active_director_nothing_is_known() -> None:
    assert words(available(seen(ONE, TWO, silent=("director-1",)))) == (False, "DirectorUnreachable", False)
    took_over = seen(ONE, director("director-2"), active="director-2", silent=("director-1",))
    assert words(available(took_over)) == (True, "DirectorActive", True)


@pytest.mark.parametrize(
    ("said", "silent", "reason"),
    [
        ((ONE, director("director-2")), (), "TwoOwners"),
        ((ONE, SICK, director("director-3", "Standby")), (), "DirectorNotReady"),
        ((ONE, TWO, director("director-3", "Standby")), ("director-2",), "DirectorUnreachable"),
        ((ONE,), (), "NoStandby"),
        ((ONE, director("director-2", "Standby", lacking=1)), (), "NotAllServed"),
        ((director(lacking=1), TWO), (), "NotAllServed"),
        ((director(reason="TwoOwners"), TWO), (), "TwoOwners"),
        ((), (), "NoStandby"),
        ((ONE, director("director-2", "Resting")), (), "DirectorNotReady"),
    ],
)
def test_what_makes_a_group_degraded(said: tuple[Any, ...], silent: tuple[str, ...], reason: str) -> None:
    found = degraded(seen(*said, silent=silent), 16)
    assert (found.ok, found.reason) == (True, reason)


def test_a_director_that_is_not_ready_is_named_with_its_reason() -> None:
    assert degraded(seen(ONE, SICK), 16).message == "director-2 is NotReady (LinkDown: eth0 has no carrier)"


def test_two_that_are_ready_are_well() -> None:
    found = degraded(seen(ONE, TWO), 16, ["director-1", "director-2"])
    assert (found.ok, found.reason, found.message) == (False, "DirectorsReady", "directors that are ready: 2")


def test_a_node_with_the_labels_whose_agent_never_reports_is_named() -> None:
    """The chart may keep agents from it; others do not know whose VRRP to take as long as it may be a director."""
    found = degraded(seen(ONE, TWO), 16, ["director-1", "director-2", "worker-7"])
    assert (found.ok, found.reason) == (True, "DirectorUnreachable")
    assert found.message.startswith("worker-7 would be a director by its labels, but its agent has never reported")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["InStep"], (True, "InStep", True)),
        (["InStep", "Behind"], (True, "InStep", True)),
        (["Behind", "InStep"], (False, "Behind", True)),
        (["Behind", "Unknown"], (False, "Behind", True)),
        (["Alone"], (False, "Alone", False)),
        (["Unknown"], (False, "NotMeasured", False)),
        ([None], (False, "NotMeasured", False)),
        ([], (False, "NoStandby", True)),
    ],
)
def test_mirrored_follows_the_standby_that_would_take_over(
    states: list[str | None], expected: tuple[bool, str, bool]
) -> None:
    said = [director(f"d-{n}", "Standby", mirror={"state": one} if one else None) for n, one in enumerate(states)]
    assert words(mirrored(seen(ONE, *said))) == expected


def test_mirrored_says_what_is_wrong_with_each_standby() -> None:
    link = "spec.mirroring.interface: this node has no link eth7"
    said = [
        director("d-1", "Standby", 249, mirror={"state": "InStep", "share": "100%", "lag": "<=10s"}),
        director("d-2", "Standby", 248, mirror={"state": "Unknown", "message": link}),
        director("d-3", "Standby", 247, mirror={"state": "InStep"}),
    ]
    assert (
        mirrored(seen(ONE, *said))[0].message
        == f"d-1: in step with the active director (share 100%, lag <=10s); d-2: {link}"
    )


def test_a_standby_that_is_silent_mirrors_nothing_that_is_known() -> None:
    standby = director("director-2", "Standby", mirror={"state": "InStep"})
    assert words(mirrored(seen(ONE, standby, silent=("director-2",)))) == (False, "NoStandby", True)


def test_standbys_are_named_the_most_preferred_first() -> None:
    said = [director("a", "Standby", 248), director("b", "Standby", 249), director("c", "NotReady", 250)]
    assert standbys(seen(ONE, *said)) == "b,a"


FAILOVER = {
    "node": "director-2",
    "before": "director-1",
    "reason": "DirectorLost",
    "message": "no advertisement for 300 ms",
    "silent": "0.23s",
}


def test_a_failover_is_told_with_why_and_how_long_the_addresses_were_silent() -> None:
    reason, text, look = failover_note(seen(active="director-2", lastFailover=FAILOVER))
    assert (reason, look) == ("FailedOver", True)
    assert text == (
        "director-2 is active instead of director-1: DirectorLost, silent for 0.23s (no advertisement for 300 ms)"
    )


def test_the_first_director_and_one_that_tells_nothing() -> None:
    first = {"node": "director-1", "reason": "First", "message": "the group is new"}
    note = failover_note(seen(lastFailover=first))
    assert note == ("DirectorActive", "director-1 is active: First (the group is new)", False)
    assert failover_note(seen(lastFailover=FAILOVER)) == ("DirectorActive", "director-1 is active", False)


def group(*said: Any, **status: Any) -> Any:
    return {"metadata": {"name": "default"}, "status": {"directors": list(said), **status}}


def test_what_is_told_of_a_mirror_is_news_when_it_changes() -> None:
    sink = GroupsSeen()
    mirror = {"state": "InStep", "share": "100%", "lag": "<=10s"}
    assert sink.put("DirectorGroup", group(ONE, TWO | {"mirror": mirror}))
    assert sink.put("DirectorGroup", group(ONE, TWO | {"mirror": mirror | {"share": ">=99%", "lag": ">10s"}}))
    assert sink.put("DirectorGroup", group(ONE, TWO | {"mirror": mirror}))
    assert not sink.put("DirectorGroup", group(ONE, TWO | {"mirror": mirror}, standbys="director-2"))
    assert sink.put("DirectorGroup", group(ONE, TWO | {"mirror": mirror | {"state": "Behind"}}))
    assert sink.put("DirectorGroup", group(ONE, SICK))
    assert sink.put("DirectorGroup", group(ONE, SICK, activeDirector="director-1"))
    sink.replace("DirectorGroup", [])
    assert sink.put("DirectorGroup", group(ONE, SICK, activeDirector="director-1"))
