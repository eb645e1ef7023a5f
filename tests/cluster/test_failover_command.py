"""``virtualserver failover`` and ``drill`` as a person runs them, with no rights but those of the role for it.

The directors write their words with the product's own writer and the rights of their nodes' agents; what stands in for
the rest of an agent is a few lines that hand over when they are asked.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cluster.bench import Bench, Json, until
from lab.chart import NAMESPACE
from virtualserver.agent.groups import GroupStatuses
from virtualserver.api.enums import GroupRole
from virtualserver.api.failover import Failover
from virtualserver.api.reasons import Reason
from virtualserver.cluster.client import Api
from virtualserver.cluster.resources import DIRECTOR_GROUPS
from virtualserver.cluster.watch import Fanout, Reflector
from virtualserver.plan.findings import Finding
from virtualserver.plan.groupstatus import group_status
from virtualserver.plan.world import ObjectKey, key_of

OPERATOR = "virtualserver-operator"
NODES = ("director-1", "director-2")
CHECKOUT = Path(__file__).resolve().parents[2]


class Directors:
    """Two directors: a sink of the group that hands over when somebody asks for it."""

    def __init__(self, apis: dict[str, Api]) -> None:
        self.statuses = {node: GroupStatuses(api, node) for node, api in apis.items()}
        self.active = NODES[0]
        self.obj: Json = {}
        self.obeying = True
        self.answered: dict[str, Json] = {}

    def replace(self, kind: str, objects: list[Json]) -> None:
        for obj in objects:
            self.put(kind, obj)

    def put(self, kind: str, obj: Json) -> bool:
        self.obj = dict(obj)
        for one in self.statuses.values():
            one.writer.put(kind, obj)
        status = obj.get("status") or {}
        request = status.get("failoverRequest") or {}
        if request and self.obeying and request["id"] not in self.answered:
            self.answered[request["id"]] = request  # the answer may not be written yet when the next view comes
            before, self.active = self.active, next(node for node in NODES if node != self.active)
            told = Failover(
                time=None,
                node=self.active,
                before=before,
                reason=Reason.REQUESTED,
                message=request["reason"],
                silent="0.017s",
                request=request["id"],
            )
            self.speak(told)
        return True

    def drop(self, _kind: str, key: ObjectKey) -> None:
        for one in self.statuses.values():
            one.writer.drop("", key)

    def speak(self, failover: Failover | None = None) -> None:
        """Say who is active, the new one first."""
        for node in sorted(NODES, key=lambda node: node != self.active):
            role = GroupRole.ACTIVE if node == self.active else GroupRole.STANDBY
            why = Finding(True, Reason.DIRECTOR_ACTIVE if role is GroupRole.ACTIVE else Reason.DIRECTOR_STANDBY, "m")
            told = failover if role is GroupRole.ACTIVE else None
            self.statuses[node].set(key_of(self.obj).name, group_status(node, role, why, failover=told))


@asynccontextmanager
async def directors(bench: Bench) -> AsyncIterator[Directors]:
    for node in NODES:
        await asyncio.to_thread(bench.node, node)
    await asyncio.to_thread(bench.group)
    apis = {node: await asyncio.to_thread(bench.api, node=node) for node in NODES}
    made = Directors(apis)
    reflector = Reflector(apis[NODES[0]], DIRECTOR_GROUPS, Fanout(made))  # type: ignore[arg-type]  # it has what is used of the client
    task = asyncio.create_task(reflector.run())
    try:
        await asyncio.wait_for(reflector.synced.wait(), 10)
        made.speak()
        await until(lambda: len(status(bench).get("directors", [])) == 2, 3, "both have spoken")
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for node, one in made.statuses.items():
            await one.close()
            await apis[node].close()


def status(bench: Bench) -> Json:
    made: Json = bench.get(DIRECTOR_GROUPS, "default").get("status") or {}
    return made


@pytest.fixture
def person(bench: Bench) -> Path:
    """Credentials of somebody with the role."""
    server = bench.server
    name = f"{NAMESPACE}:{OPERATOR}"
    if server.kubectl("get", "serviceaccount", OPERATOR, "-n", NAMESPACE, check=False).returncode != 0:
        server.kubectl("create", "serviceaccount", OPERATOR, "-n", NAMESPACE)
        server.kubectl(
            "create", "clusterrolebinding", "people", f"--clusterrole={OPERATOR}", f"--serviceaccount={name}"
        )
    return bench.kubeconfig(OPERATOR)


async def command(person: Path, *words: str) -> tuple[int, str]:
    """Run the program as it is installed; returns its exit code and all that it printed."""
    environment = os.environ | {"KUBECONFIG": str(person), "PYTHONPATH": str(CHECKOUT / "operator")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "virtualserver", *words),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, printed.decode()


async def test_a_person_hands_the_addresses_over_and_sees_how_long_that_took(bench: Bench, person: Path) -> None:
    async with directors(bench):
        code, said = await command(person, "failover", "default", "--reason", "new firmware")
        assert code == 0, said
        instead = "director-2 is active instead of director-1: Requested (new firmware)"
        assert said.splitlines()[-1] == f"{instead}; the addresses were silent for 0.017s"
        seen = status(bench)
        assert seen["activeDirector"] == "director-2"
        assert seen["lastFailover"]["message"] == "new firmware"
        assert seen["lastFailover"]["time"]
        assert "failoverRequest" not in seen, "it would be done again some day"
        code, said = await command(person, "failover", "default", "--to", "director-2", "--reason", "r")
        assert (code, said) == (0, "director-2 is active already\n")
        code, said = await command(person, "failover", "elsewhere", "--reason", "r")
        assert (code, said) == (1, "virtualserver failover: there is no DirectorGroup 'elsewhere'\n")


async def test_a_request_written_by_kubectl_once_is_not_in_the_way_and_goes_with_the_next(
    bench: Bench, person: Path
) -> None:
    async with directors(bench) as made:
        patch = '{"status":{"failoverRequest":{"id":"by-hand","reason":"r","to":"director-2"}}}'
        how = ("--subresource=status", "--type=merge", "-p", patch)
        await asyncio.to_thread(bench.server.kubectl, "patch", "directorgroup", "default", *how)
        await until(lambda: status(bench).get("activeDirector") == made.active == "director-2", 3, "it is done")
        code, said = await command(person, "failover", "default", "--reason", "back")
        assert code == 0, said
        assert "could not" not in said
        assert "to" not in list(made.answered.values())[-1], "that was for the other one"
        assert "failoverRequest" not in status(bench)


async def test_a_drill_measures_there_and_back(bench: Bench, person: Path) -> None:
    async with directors(bench) as made:
        code, said = await command(person, "drill", "default", "--times", "2")
        assert code == 0, said
        assert "silent: min 0.017s, median 0.017s, max 0.017s, failovers: 4" in said
        assert made.active == "director-1"
        await until(lambda: status(bench).get("activeDirector") == "director-1", 3, "as it was")


async def test_a_request_that_nobody_answers_is_taken_back(bench: Bench, person: Path) -> None:
    async with directors(bench) as made:
        made.obeying = False
        code, said = await command(person, "failover", "default", "--reason", "r", "--timeout", "2")
        assert code == 3
        assert "not done within 2 s; director-2 is Standby" in said
        assert "failoverRequest" not in status(bench)
        assert status(bench)["activeDirector"] == "director-1"


async def test_without_rights_it_says_which_are_missing(bench: Bench) -> None:
    await asyncio.to_thread(bench.group)
    if bench.server.kubectl("get", "serviceaccount", "nobody", "-n", NAMESPACE, check=False).returncode != 0:
        bench.server.kubectl("create", "serviceaccount", "nobody", "-n", NAMESPACE)
    code, said = await command(bench.kubeconfig("nobody"), "failover", "default", "--reason", "r")
    assert code == 1
    assert "the ClusterRole virtualserver-operator has the rights" in said
    code, said = await command(Path("/nonexistent"), "drill", "default")
    assert code == 1
    assert "no credentials from /nonexistent" in said
