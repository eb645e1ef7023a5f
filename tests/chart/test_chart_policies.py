"""Who may say what in a status, on a real API server: agents, the controller, and people who ask for a failover."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart.rendering import CHART, CHECKOUT, NAMESPACE
from lab import ApiServer, chart
from lab.console import wait_until

WEB = yaml.safe_load((CHECKOUT / "examples" / "web.yaml").read_text())
GROUP = yaml.safe_load((CHECKOUT / "examples" / "directorgroup.yaml").read_text())
OPERATOR = "virtualserver-operator"
Status = dict[str, Any]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    folder = tmp_path_factory.mktemp("policies")
    with ApiServer(folder) as ready:
        chart.apply(ready, CHART, folder / "helm")
        for node in ("node-1", "node-2"):
            body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}
            ready.kubectl("create", "-f", "-", input=json.dumps(body))
        ready.kubectl("create", "serviceaccount", OPERATOR, "-n", NAMESPACE)
        bound = (f"--clusterrole={OPERATOR}", f"--serviceaccount={NAMESPACE}:{OPERATOR}")
        ready.kubectl("create", "clusterrolebinding", "people", *bound)
        yield ready


class _Agent:
    """Writes status as a node's agent does: server-side apply with the credentials of its pod."""

    account = "virtualserver-agent"

    def __init__(self, api: ApiServer, folder: Path, node: str | None) -> None:
        self.api = api
        self.manager = f"agent-{node}"
        self.kubeconfig = api.account_kubeconfig(folder / f"{self.account}-{node}", NAMESPACE, self.account, node)

    def write(self, active: str, *directors: str, says: str = "198.18.0.100") -> tuple[int, str]:
        entries = [{"node": node, "role": "Active", "announced": [says]} for node in directors]
        return self.apply({"activeDirector": active, "directors": entries})

    def apply(self, status: Status, about: dict[str, Any] = WEB) -> tuple[int, str]:
        manifest = {key: about[key] for key in ("apiVersion", "kind", "metadata")} | (
            {"status": status} if status else {}
        )
        done = self.api.kubectl(
            *("apply", "--server-side", "--subresource=status", "--force-conflicts", "--validate=false", "-f", "-"),
            *(f"--field-manager={self.manager}", f"--kubeconfig={self.kubeconfig}"),
            input=json.dumps(manifest),
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


class _Controller(_Agent):
    """Writes in the place of an agent, with its own credentials."""

    account = "virtualserver-controller"


class _Person(_Agent):
    """Has the ClusterRole for those who may ask for a failover."""

    account = OPERATOR

    def __init__(self, api: ApiServer, folder: Path) -> None:
        super().__init__(api, folder, None)
        self.manager = "virtualserver-failover"


def _refused(said: tuple[int, str], words: str) -> None:
    assert said[0] != 0
    assert words in said[1]


def _entry(node: str, role: str = "Standby", **more: Any) -> Status:
    return {"node": node, "role": role, "reason": "R", "message": "m"} | more


def _group_status(api: ApiServer) -> Status:
    made: Status = json.loads(api.kubectl("get", "dg", GROUP["metadata"]["name"], "-o", "json").stdout).get(
        "status", {}
    )
    return made


@pytest.fixture
def group(installed: ApiServer) -> Iterator[ApiServer]:
    installed.kubectl("apply", "-f", "-", input=json.dumps(GROUP))
    yield installed
    installed.kubectl("delete", "dg", GROUP["metadata"]["name"])


def test_an_agent_speaks_only_for_its_own_node(installed: ApiServer, tmp_path: Path) -> None:
    installed.kubectl("apply", "-f", "-", input=json.dumps(WEB))
    first, second, nobody = (_Agent(installed, tmp_path, node) for node in ("node-1", "node-2", None))
    for _ in wait_until(20):  # a new policy takes a moment
        code, text = nobody.write("", says="anything")
        if code != 0:
            break
    assert "names no node" in text
    assert first.write("node-1", "node-1") == (0, "virtualserver.virtualserver.dev/web serverside-applied\n")
    assert second.write("node-1", "node-2")[0] == 0
    forged = second.write("node-1", "node-1", "node-2", says="198.18.0.199")
    assert forged[0] != 0
    assert "the agent of node node-2 may write only its own entry of status.directors" in forged[1]
    assert second.write("node-1", "node-2", "node-3")[0] != 0, "an entry of a node without an agent"
    assert second.write("node-9", "node-2")[0] != 0
    assert second.write("node-2", "node-2")[0] == 0, "taking over is an agent's own decision"
    assert "may set status.activeDirector only" in second.write("node-1", "node-2")[1]
    status = json.loads(installed.kubectl("get", "vs", "web", "-o", "json").stdout).get("status", {})
    assert [entry["node"] for entry in status["directors"]] == ["node-1", "node-2"]
    first.manager = second.manager
    assert "may write only its own entry" in first.apply({})[1], "not even to remove what another said"
    installed.kubectl("delete", "vs", "web")


def test_an_agent_says_of_a_group_only_what_its_own_node_is(group: ApiServer, tmp_path: Path) -> None:
    first, second, nobody = (_Agent(group, tmp_path, node) for node in ("node-1", "node-2", None))
    for _ in wait_until(20):  # a new policy takes a moment
        said = nobody.apply({"directors": [_entry("node-1")]}, GROUP)
        if said[0] != 0:
            break
    _refused(said, "names no node")
    failover = {"node": "node-1", "reason": "Requested", "message": "m", "request": "of this term only"}
    active: Status = {"directors": [_entry("node-1", "Active")], "activeDirector": "node-1", "lastFailover": failover}
    assert first.apply(active, GROUP)[0] == 0
    assert second.apply({"directors": [_entry("node-2")]}, GROUP)[0] == 0
    assert first.apply(active | {"directors": [_entry("node-1", "Active", priority=250)]}, GROUP)[0] == 0

    def refused(status: Status, words: str) -> None:
        _refused(second.apply({"directors": [_entry("node-2")]} | status, GROUP), words)

    refused({"directors": [_entry("node-2"), _entry("node-1", "NotReady")]}, "only its own entry of status.directors")
    refused({"activeDirector": "node-3"}, "may set status.activeDirector only to its own node")
    refused({"lastFailover": failover | {"message": "forged"}}, "only of its own node how it became active")
    refused({"failoverRequest": {"id": "r", "reason": "x"}}, "may not ask for a failover")
    condition = {"type": "Available", "status": "True", "reason": "R", "message": "m"}
    refused({"conditions": [condition]}, "are the controller's")
    refused({"standbys": "node-2"}, "are the controller's")
    assert _group_status(group)["activeDirector"] == "node-1"

    took = {"node": "node-2", "before": "node-1", "reason": "DirectorLost", "message": "m", "silent": "0.23s"}
    over: Status = {"directors": [_entry("node-2", "Active")], "activeDirector": "node-2", "lastFailover": took}
    assert second.apply(over, GROUP)[0] == 0, "taking over is an agent's own decision"
    assert first.apply({"directors": [_entry("node-1")]}, GROUP)[0] == 0
    status = _group_status(group)
    assert (status["activeDirector"], status["lastFailover"]) == ("node-2", took)
    assert second.apply({"directors": [_entry("node-2")]}, GROUP)[0] == 0, "and so is to yield"
    assert not {"activeDirector", "lastFailover"} & set(_group_status(group))


def test_the_controller_says_of_a_director_only_that_nothing_is_known(group: ApiServer, tmp_path: Path) -> None:
    failover = {"node": "node-1", "reason": "First", "message": "m"}
    active: Status = {"directors": [_entry("node-1", "Active")], "activeDirector": "node-1", "lastFailover": failover}
    assert _Agent(group, tmp_path, "node-1").apply(active, GROUP)[0] == 0
    controller = _Controller(group, tmp_path, None)
    controller.manager = "virtualserver-controller"
    for _ in wait_until(20):  # a new policy takes a moment
        said = controller.apply({"directors": [_entry("node-1", "NotReady")]}, GROUP)
        if said[0] != 0:
            break
    _refused(said, "may remove entries of status.directors, or call them Unknown")
    _refused(controller.apply({"directors": [_entry("node-2", "Unknown")]}, GROUP), "neither add nor change one")
    _refused(controller.apply({"activeDirector": "node-2"}, GROUP), "may clear status.activeDirector, but not set it")
    forged = failover | {"message": "forged"}
    _refused(controller.apply({"lastFailover": forged}, GROUP), "may clear status.lastFailover, but not set it")
    _refused(controller.apply({"failoverRequest": {"id": "r", "reason": "x"}}, GROUP), "may not ask for a failover")
    condition = {"type": "Available", "status": "True", "reason": "R", "message": "m"}
    own: Status = {"conditions": [condition | {"lastTransitionTime": "2026-01-01T00:00:00Z"}], "standbys": "node-2"}
    assert controller.apply(own, GROUP)[0] == 0
    controller.manager = "virtualserver-controller-silence"
    assert controller.apply({"directors": [_entry("node-1", "Unknown")]}, GROUP)[0] == 0
    assert [entry["role"] for entry in _group_status(group)["directors"]] == ["Unknown"]
    assert _Agent(group, tmp_path, "node-1").apply(active, GROUP)[0] == 0, "the agent speaks again"
    assert controller.apply({}, GROUP)[0] == 0
    assert [entry["role"] for entry in _group_status(group)["directors"]] == ["Active"]
    controller.manager = "agent-node-1"
    assert controller.apply({}, GROUP)[0] == 0, "of a node that is no director any more"
    assert _group_status(group) == own


def test_who_may_ask_for_a_failover_may_say_nothing_else(group: ApiServer, tmp_path: Path) -> None:
    person = _Person(group, tmp_path)
    for _ in wait_until(20):  # a new policy takes a moment
        said = person.apply({"activeDirector": "node-2"}, GROUP)
        if said[0] != 0:
            break
    _refused(said, "status.activeDirector is not yours to write")
    request = {"id": "r1", "to": "node-2", "reason": "new firmware"}
    assert person.apply({"failoverRequest": request}, GROUP)[0] == 0
    assert _group_status(group)["failoverRequest"] == request
    for field, value in (
        ("directors", [_entry("node-1")]),
        ("standbys", "node-2"),
        ("lastFailover", {"node": "node-2", "reason": "Requested", "message": "m"}),
        ("conditions", [{"type": "Available", "status": "True", "reason": "R", "message": "m"}]),
        ("observedGeneration", 7),
    ):
        _refused(person.apply({"failoverRequest": request, field: value}, GROUP), f"status.{field} is not yours")
    _refused(person.apply({"activeDirector": "x"}), "forbidden")
    code, text = person.apply({}, GROUP)
    assert code == 0, text
    assert "failoverRequest" not in _group_status(group)
    name = GROUP["metadata"]["name"]
    patch = ("patch", "dg", name, "--subresource=status", "--type=merge", "-p", '{"status": {"standbys": "by hand"}}')
    group.kubectl(*patch)  # whoever may change the group itself is free
    assert _group_status(group)["standbys"] == "by hand"


def test_the_controller_takes_back_what_a_director_said_and_says_nothing_in_its_place(
    installed: ApiServer, tmp_path: Path
) -> None:
    installed.kubectl("apply", "-f", "-", input=json.dumps(WEB))
    standby = {"node": "node-2", "role": "Standby"}
    assert _Agent(installed, tmp_path, "node-1").write("node-1", "node-1")[0] == 0
    assert _Agent(installed, tmp_path, "node-2").apply({"directors": [standby]})[0] == 0
    for _ in wait_until(20):  # a new policy takes a moment
        forged = _Controller(installed, tmp_path, "node-2").write("", "node-2", says="198.18.0.199")
        if forged[0] != 0:
            break
    assert "may remove entries of status.directors, or call them Unknown, but neither add nor change one" in forged[1]
    controller = _Controller(installed, tmp_path, "node-1")
    assert "may clear status.activeDirector, but not set it" in controller.write("node-2", "node-1")[1]
    assert controller.apply({})[0] == 0
    status = json.loads(installed.kubectl("get", "vs", "web", "-o", "json").stdout).get("status", {})
    assert status == {"directors": [standby]}
    installed.kubectl("delete", "vs", "web")
