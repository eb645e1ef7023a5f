"""What a director says of itself to its group."""

from __future__ import annotations

from unit.builders import director_group
from virtualserver.api.enums import GroupRole, MirrorState
from virtualserver.api.failover import Failover, MirrorReport
from virtualserver.api.reasons import Reason
from virtualserver.plan.findings import Finding
from virtualserver.plan.groupstatus import group_status, ownership, without_ownership
from virtualserver.plan.world import director_group as read

ACTIVE = Finding(True, Reason.DIRECTOR_ACTIVE, "holds the addresses")
FAILOVER = Failover(
    time=None, node="director-1", before="director-2", reason="DirectorLost", message="m", silent="0.23s", request=None
)


def test_an_active_director_names_itself_and_says_how_it_became_that() -> None:
    status = group_status("director-1", GroupRole.ACTIVE, ACTIVE, priority=250, failover=FAILOVER)
    assert status["activeDirector"] == "director-1"
    assert status["lastFailover"]["before"] == "director-2"
    (entry,) = status["directors"]
    assert entry == {
        "node": "director-1",
        "role": "Active",
        "reason": "DirectorActive",
        "message": "holds the addresses",
        "addresses": [],
        "priority": 250,
    }


def test_a_standby_says_how_well_it_mirrors_and_nothing_of_ownership() -> None:
    mirror = MirrorReport(state=MirrorState.IN_STEP, share="100%", lag=None, message=None)
    why = Finding(True, Reason.DIRECTOR_STANDBY, "ready")
    said = group_status("director-2", GroupRole.STANDBY, why, mirror=mirror, caught_up="r1", failover=FAILOVER)
    assert set(said) == {"directors"}
    assert said["directors"][0]["mirror"] == {"state": "InStep", "share": "100%"}
    assert said["directors"][0]["caughtUp"] == "r1"
    assert ownership(said) == {}


def test_ownership_can_be_left_out() -> None:
    said = group_status("director-1", GroupRole.ACTIVE, ACTIVE, failover=FAILOVER)
    assert without_ownership(said) | ownership(said) == said
    assert set(without_ownership(said)) == {"directors"}


def test_the_last_failover_of_a_group_is_read_and_one_of_a_newer_version_left_alone() -> None:
    obj = director_group()
    obj["status"]["lastFailover"] = FAILOVER.wire()
    assert read(obj).last_failover == FAILOVER
    obj["status"]["lastFailover"] = {"node": 7}
    assert read(obj).last_failover is None
