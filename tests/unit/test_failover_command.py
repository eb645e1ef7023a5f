"""``virtualserver failover`` and ``virtualserver drill``: what is asked, printed and answered by an exit code."""

from __future__ import annotations

import argparse
import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest

from unit.builders import director, director_group
from unit.virtualtime import run
from virtualserver.cluster.errors import ApiError, Conflict, NotFound, Unreachable
from virtualserver.cluster.resources import Resource
from virtualserver.failover import arguments, command
from virtualserver.failover.asking import MANAGER
from virtualserver.failover.choice import Done, silence, table
from virtualserver.plan.world import Json, ObjectKey

Status = dict[str, Any]


class Group:
    """A group at an API server, and directors that do what they are asked ``slow`` seconds later."""

    def __init__(self, *said: Status, active: str | None = "director-1", slow: float | None = 0.5) -> None:
        self.status: Status = {"directors": copy.deepcopy(list(said))} | ({"activeDirector": active} if active else {})
        self.slow = slow
        self.silent = ["0.012s"]
        self.reason = "Requested"
        self.requests: list[Status] = []
        self.error: ApiError | None = None
        self.vrrp: Json = {}
        self.reports, self.withdrawals = 0, 0  # how often a director writes its report in between
        self.at_request: Callable[[], object] = lambda: None

    async def read(self, _: Resource, key: ObjectKey) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        if key.name != "default":
            raise NotFound(404, "not found")
        return director_group(vrrp=self.vrrp) | {"status": copy.deepcopy(self.status)}

    async def patch_status(self, _: Resource, __: ObjectKey, body: Json, manager: str) -> dict[str, Any]:
        assert manager == MANAGER
        wanted = body["status"]["failoverRequest"]
        if wanted is None:
            self.withdrawals += 1
            if self.withdrawals <= self.reports:
                raise Conflict(409, "the object has been modified")
            self.status.pop("failoverRequest", None)
            return dict(body)
        request = self.status.get("failoverRequest", {}) | wanted
        request = {name: value for name, value in request.items() if value is not None}
        self.status["failoverRequest"] = request
        self.requests.append(request)
        self.at_request()
        if self.slow is not None:
            asyncio.get_running_loop().call_later(self.slow, self._hand_over, request)
        return dict(body)

    def _hand_over(self, request: Status) -> None:
        if self.status.get("failoverRequest") != request:
            return
        before = self.status["activeDirector"]
        to = request.get("to") or next(one["node"] for one in self.status["directors"] if one["role"] == "Standby")
        for one in self.status["directors"]:
            one["role"] = {to: "Active", before: "Standby"}.get(one["node"], one["role"])
        silent = self.silent.pop(0) if len(self.silent) > 1 else self.silent[0]
        told = {"node": to, "before": before, "reason": self.reason, "message": request["reason"]}
        self.status |= {"activeDirector": to, "lastFailover": told | {"silent": silent, "request": request["id"]}}


ONE, TWO, THREE = director(), director("director-2", "Standby", 249), director("director-3", "Standby", 248)
SICK = director("director-2", "NotReady", reason="LinkDown", message="eth0 has no carrier")


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command")
    arguments.add_failover(commands.add_parser("failover"))
    arguments.add_drill(commands.add_parser("drill"))
    return parser.parse_args(words)


def ask(group: Group, *words: str) -> int:
    return run(command.run(parse(*words), group))


def failover(group: Group, *words: str, name: str = "default") -> int:
    return ask(group, "failover", name, "--reason", "new firmware", *words)


def test_a_failover_is_asked_for_waited_for_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    group = Group(ONE, TWO)
    group.at_request = lambda: group.status["directors"][1].update(caughtUp=group.requests[0]["id"])
    assert failover(group) == 0
    (request,) = group.requests
    assert request["reason"] == "new firmware"
    assert "to" not in request
    assert capsys.readouterr().out.splitlines() == [
        "asked director-1 to hand over to a standby: new firmware",
        "director-2 is ready to take over",
        "director-2 is active instead of director-1: Requested (new firmware); the addresses were silent for 0.012s",
    ]


def test_the_request_does_not_stand_when_the_command_has_ended() -> None:
    answered, unanswered = Group(ONE, TWO), Group(ONE, TWO, slow=None)
    assert (failover(answered), failover(unanswered, "--timeout", "3")) == (0, 3)
    for group in (answered, unanswered):
        assert len(group.requests) == 1
        assert "failoverRequest" not in group.status, "it would be done some day later"


def test_a_request_is_taken_back_although_directors_report_at_the_same_time(capsys: pytest.CaptureFixture[str]) -> None:
    group = Group(ONE, TWO)
    group.reports = 3
    assert failover(group) == 0
    assert "failoverRequest" not in group.status
    restless = Group(ONE, TWO)
    restless.reports = 1000
    assert failover(restless) == 0
    assert "it may still be done: the status changed each time" in capsys.readouterr().out


def test_nothing_of_a_request_that_somebody_left_there_is_asked_for_again() -> None:
    group = Group(ONE, TWO)
    group.status["failoverRequest"] = {"id": "old", "reason": "r", "to": "director-1", "letGoFirst": True}
    assert failover(group) == 0
    assert group.requests[0].keys() == {"id", "reason", "requested"}


def test_a_request_of_somebody_else_stays() -> None:
    group = Group(ONE, TWO, slow=None)
    theirs = {"id": "theirs", "reason": "r"}
    group.at_request = lambda: group.status.update(failoverRequest=theirs)
    assert failover(group) == 3
    assert group.status["failoverRequest"] == theirs


def test_a_command_that_is_interrupted_takes_its_request_back() -> None:
    group = Group(ONE, TWO, slow=None)

    async def main() -> None:
        task = asyncio.create_task(command.run(parse("failover", "default", "--reason", "r"), group))
        await asyncio.sleep(2)
        assert "failoverRequest" in group.status
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())
    assert "failoverRequest" not in group.status


@pytest.mark.parametrize(
    ("group", "words", "said"),
    [
        (Group(ONE, TWO), ["--to", "director-9"], "director-9 is not a director of default; its directors: director-1"),
        (Group(ONE, SICK), ["--to", "director-2"], "director-2 is not ready: director-2 is NotReady (LinkDown: eth0"),
        (Group(ONE, SICK), [], "no other director of default is ready: director-2 is NotReady (LinkDown: eth0"),
        (Group(ONE), [], "no other director of default is ready"),
        (Group(TWO, active=None), [], "no director of default is active: director-2 is Standby"),
    ],
)
def test_what_cannot_be_done_is_not_asked_for(
    group: Group, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failover(group, *words) == 1
    assert said in capsys.readouterr().err
    assert group.requests == []


def test_a_group_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert failover(Group(ONE, TWO), name="defalt") == 1
    assert capsys.readouterr().err == "virtualserver failover: there is no DirectorGroup 'defalt'\n"


def test_missing_rights_are_said_with_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    group = Group(ONE, TWO)
    group.error = ApiError(403, "forbidden")
    assert failover(group) == 1
    assert "the ClusterRole virtualserver-operator has the rights" in capsys.readouterr().err


def test_one_that_is_active_already_needs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    group = Group(ONE, TWO)
    assert failover(group, "--to", "director-1") == 0
    assert capsys.readouterr().out == "director-1 is active already\n"
    assert group.requests == []


def test_time_over_says_what_the_others_are(capsys: pytest.CaptureFixture[str]) -> None:
    group = Group(ONE, TWO, slow=None)
    assert failover(group, "--timeout", "5") == 3
    assert "not done within 5 s; director-2 is Standby" in capsys.readouterr().err


def test_another_director_than_the_one_asked_for_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    group = Group(ONE, TWO, THREE, slow=None)

    def crash() -> None:
        told = {"node": "director-3", "before": "director-1", "reason": "DirectorLost", "message": "m"}
        request = group.requests[0]["id"]
        group.status |= {"activeDirector": "director-3", "lastFailover": told | {"request": request}}

    group.at_request = crash
    assert failover(group, "--to", "director-2") == 3
    assert "director-2 was asked for, but director-3 is active" in capsys.readouterr().err


def test_an_api_server_that_is_away_for_a_while_is_waited_for() -> None:
    group = Group(ONE, TWO)

    def outage() -> None:
        group.error = Unreachable(0, "away")
        asyncio.get_running_loop().call_later(4, setattr, group, "error", None)

    group.at_request = outage
    assert failover(group) == 0


def test_a_drill_goes_there_and_back_and_ends_where_it_began(capsys: pytest.CaptureFixture[str]) -> None:
    group = Group(ONE, TWO, THREE)
    group.silent = ["0.010s", "30ms", "0.020s", ""]
    assert ask(group, "drill", "default", "--times", "2") == 0
    assert [one["to"] for one in group.requests] == ["director-2", "director-1"] * 2
    assert {one["reason"] for one in group.requests} == {"drill"}
    assert group.status["activeDirector"] == "director-1"
    assert capsys.readouterr().out.split("\n\n")[1].splitlines() == [
        "  #  FROM        TO          SILENT",
        "  1  director-1  director-2  0.010s",
        "  2  director-2  director-1  30ms",
        "  3  director-1  director-2  0.020s",
        "  4  director-2  director-1  ?",
        "silent: min 0.010s, median 0.020s, max 0.030s, failovers: 3",
        "a crash is noticed 0.21 to 0.31 s after it, in addition (spec.vrrp)",
    ]


BEHIND = TWO | {"mirror": {"state": "Behind"}}


@pytest.mark.parametrize(("preempt", "to", "told"), [(True, "director-2", True), (False, "director-2", False)])
def test_a_failover_that_will_be_undone_says_so(
    capsys: pytest.CaptureFixture[str], preempt: bool, to: str, told: bool
) -> None:
    """The more preferred director comes back while somebody works on it."""
    group = Group(ONE, TWO)
    group.vrrp = {"preempt": preempt}
    assert failover(group, "--to", to) == 0
    assert ("director-1 takes the addresses back" in capsys.readouterr().out) is told
    assert failover(group, "--to", "director-1") == 0
    assert "takes the addresses back" not in capsys.readouterr().out


def test_a_drill_is_refused_where_a_director_comes_back_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    group = Group(ONE, TWO)
    group.vrrp = {"preempt": True}
    assert ask(group, "drill", "default") == 1
    assert "spec.vrrp.preempt" in capsys.readouterr().err
    assert group.requests == []


def test_a_drill_that_would_lose_connections_needs_force(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(Group(ONE, BEHIND), "drill", "default") == 1
    assert "director-2 lacks connections of director-1 (mirror: Behind)" in capsys.readouterr().err
    assert ask(Group(ONE, SICK), "drill", "default", "--force") == 1
    assert ask(Group(ONE, BEHIND), "drill", "default", "--force", "--times", "1") == 0
    group = Group(ONE, BEHIND, THREE | {"mirror": {"state": "InStep"}})
    ask(group, "drill", "default", "--times", "1", "--timeout", "2")
    assert group.requests[0]["to"] == "director-3", "one that is in step is preferred"


def test_on_its_way_back_a_drill_waits_until_the_connections_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    mirrored = {"mirror": {"state": "InStep"}}
    group = Group(ONE | mirrored, TWO | mirrored)
    group.status["directors"][0]["mirror"] = {"state": "Unknown"}

    def catch_up() -> None:
        later = asyncio.get_running_loop().call_later
        later(5, group.status["directors"][0].update, mirrored)

    group.at_request = catch_up
    assert ask(group, "drill", "default", "--times", "1") == 0
    assert "waiting until director-1 is ready to take over" in capsys.readouterr().out
    stuck = Group(ONE | {"mirror": {"state": "Behind"}}, TWO | mirrored)
    assert ask(stuck, "drill", "default", "--times", "1", "--timeout", "5") == 3
    said = capsys.readouterr()
    assert "director-1 is not ready within 5 s" in said.err
    assert "  1  director-1  director-2  0.012s" in said.out, "what was measured is shown"


@pytest.mark.parametrize(
    "words",
    [
        ["failover", "default"],
        ["failover", "default", "--reason", " "],
        ["failover", "default", "--reason", "x" * 257],
        ["failover", "default", "--reason", "r", "--timeout", "0"],
        ["failover", "default", "--reason", "r", "--timeout", "soon"],
        ["drill", "default", "--times", "0"],
        ["drill", "default", "--times", "101"],
        ["drill"],
    ],
)
def test_an_option_that_cannot_be_used_ends_with_code_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(*words)
    assert ended.value.code == 2


def test_an_option_that_cannot_be_used_is_told_with_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--timeout", "soon"], ["--timeout", "0"]):
        with pytest.raises(SystemExit):
            parse("failover", "default", "--reason", "r", *words)
        said = capsys.readouterr().err
        assert f"argument --timeout: must be more than 0 and at most 3600, not {words[1]!r}" in said


@pytest.mark.parametrize(("text", "value"), [("0.23s", 0.23), ("12ms", 0.012), ("3s", 3), ("", None), ("soon", None)])
def test_silent_times_are_read(text: str, value: float | None) -> None:
    assert silence(text) == value


def test_a_table_without_any_figure_has_no_summary() -> None:
    assert len(table([Done("b", "a", "Requested", "m", "")])) == 2
