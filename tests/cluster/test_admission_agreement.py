"""The API server and our models agree: on defaults, and on what may be written at all.

The controller and the agents read with the models what the server took, so nothing may pass the one and not
the other. And what a person sees with kubectl.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cluster.corpus.cases import Case, Manifest, base, cases
from cluster.corpus.server import CHECKOUT, Admission, admission
from unit import builders
from unit.builders import store
from virtualserver.api.base import ApiModel
from virtualserver.api.directorgroup import DirectorGroupSpec
from virtualserver.api.virtualserver import VirtualServerSpec
from virtualserver.model.schedulers import SCHEDULERS
from virtualserver.plan.verdicts import judge
from virtualserver.plan.world import director_group, key_of

MODELS: dict[str, type[ApiModel]] = {"VirtualServer": VirtualServerSpec, "DirectorGroup": DirectorGroupSpec}
UNKNOWN_FIELD = "unknown field"
OWN_WORDS = ("Input should ", "Field required", "List should ", "String should ", "Dictionary should ")
"""How pydantic says what a schema says without a rule: types, ranges, choices, lengths."""

STRANGE: list[Any] = [
    None,
    True,
    0,
    -1,
    2**31,
    2**63 - 1,
    1.5,
    "",
    "0",
    "None",
    "é\x07",
    "x" * 400,
    [],
    [[]],
    {},
    {"x": 1},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admission]:
    with admission(tmp_path_factory.mktemp("agreement")) as ready:
        yield ready


def _refused_here(manifest: Manifest) -> str:
    """Why controller and agents refuse an object in a cluster that has all it refers to; "" if they do not."""
    if manifest["kind"] == "DirectorGroup":
        return director_group(manifest).problem
    named = (manifest.get("spec") or {}).get("directorGroup", "default")
    world = store(virtual_servers=[manifest], groups=[builders.director_group(str(named))]).world()
    accepted = judge(world)[key_of(manifest)].accepted
    return "" if accepted.ok else accepted.message


def _plain(path: str) -> str:
    """Return a path with all its steps alike: ``spec.ports[0]`` and ``spec.labels[x]`` with dots."""
    return re.sub(r"\[([^\]]*)\]", r".\1", path)


@pytest.mark.parametrize("case", cases("bad"), ids=str)
def test_what_the_server_refuses_is_refused_here_too_by_the_name_of_the_field(server: Admission, case: Case) -> None:
    """An older definition may lack what a newer one refuses, and the kernel validates almost nothing."""
    answer = server.ask(case.manifest)
    said = _refused_here(case.manifest)
    if UNKNOWN_FIELD in answer.message:
        assert said == "", "an older agent survives the fields of a newer definition"
        return
    field, _, words = said.partition(": ")
    assert f"{_plain(field)}.".startswith(f"{_plain(case.field)}."), said
    if not words.startswith(OWN_WORDS):
        assert re.sub(r" \(got .*\)$", "", words) in answer.message, "a rule has other words here than there"


@pytest.mark.parametrize("case", cases("good"), ids=str)
def test_what_the_server_takes_is_accepted_here(server: Admission, case: Case) -> None:
    stored = server.ask(case.manifest).body["spec"]
    assert _refused_here(case.manifest | {"spec": stored}) == ""


@pytest.mark.parametrize("case", cases("good"), ids=str)
def test_defaults_of_server_and_models_are_the_same(server: Admission, case: Case) -> None:
    stored = server.ask(case.manifest).body["spec"]
    written = {name: value for name, value in case.manifest["spec"].items() if value is not None}
    assert MODELS[case.manifest["kind"]].model_validate(written).wire() == stored


def test_a_minimal_manifest_gets_the_documented_defaults(server: Admission) -> None:
    stored = server.ask(base("virtualserver.yaml")).body["spec"]
    assert stored["scheduler"] == {"name": "wlc", "flags": [], "onePacket": False}
    assert stored["forwarding"] == {"mode": "NAT"}
    assert stored["persistence"] == {"type": "None"}
    assert stored["directorGroup"] == "default"
    assert stored["ports"] == [{"port": 80, "protocol": "TCP"}]
    assert stored["realServers"][0] == {"address": "198.18.1.21", "weight": 1, "adminState": "Enabled"}
    monitor = {"type": "TCP", "interval": "2s", "timeout": "1s", "rise": 2, "fall": 3, "onDown": "Remove"}
    assert stored["monitors"] == [monitor]


def _rich() -> list[Manifest]:
    """Valid manifests in which every field of the API is set."""
    files = ("persistence.yaml", "directorgroup.yaml")
    persistence, group = (yaml.safe_load((CHECKOUT / "examples" / name).read_text()) for name in files)
    spec = persistence["spec"]
    spec["forwarding"] = {"mode": "NAT", "nat": {"sourceTranslation": False}}
    spec["scheduler"] = {"name": "mh", "flags": ["mh-port"]}
    spec["monitors"][0] |= {"rise": 2, "fall": 2, "tcp": {"port": 80}}
    spec["realServers"].append({"type": "Service", "service": {"name": "shop"}, "weight": 2})
    spec["directorGroup"] = "default"
    spec["connectionMirroring"] = True
    group["spec"] |= {
        "maxDirectors": 2,
        "clientNetworks": ["198.18.0.0/24"],
        "vrrp": {
            "routerId": 7,
            "advertisementInterval": "200ms",
            "missedAdvertisements": 4,
            "preferredNodes": ["director-2", "director-1"],
            "preempt": True,
            "preemptDelay": "5s",
            "unicast": True,
        },
        "mirroring": {
            "interface": "eth1",
            "group": "224.0.0.82",
            "port": 8849,
            "syncId": 8,
            "threshold": 3,
            "period": 50,
            "refreshPeriod": "1m",
            "retries": 1,
        },
    }
    return [persistence, group]


def _places(node: Any) -> Iterator[tuple[Any, Any, str]]:
    """Yield every (container, key, path) below a node."""
    members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(members):
        yield node, key, str(key)
        for container, inner, path in _places(value):
            yield container, inner, f"{key}.{path}"


def _mutants(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """Yield copies with one place gone, doubled, or holding something strange."""
    mutant = copy.deepcopy(manifest)
    for container, key, path in list(_places(mutant["spec"])):
        kept = container[key]
        for strange in [*STRANGE, [kept, kept]]:
            container[key] = strange
            yield f"{path} = {strange!r:.30}", mutant
        container[key] = kept
        if isinstance(container, dict):
            del container[key]
            yield f"{path} gone", mutant
            container[key] = kept
            container["unheardOf"] = 1
            yield f"{path} beside something unheard of", mutant
            del container["unheardOf"]


@pytest.mark.parametrize("manifest", _rich(), ids=lambda manifest: str(manifest["kind"]))
def test_server_and_models_take_and_refuse_the_same(server: Admission, manifest: Manifest) -> None:
    assert server.ask(manifest).taken
    taken = refused = 0
    for what, mutant in _mutants(manifest):
        answer = server.ask(mutant)
        assert answer.status in (201, 400, 422), f"{what}: {answer.message}"
        if answer.taken:
            taken += 1
            stored = answer.body["spec"]
            assert MODELS[manifest["kind"]].model_validate(stored).wire() == stored, what
            assert _refused_here(manifest | {"spec": stored}) == "", what
        else:
            refused += 1
            assert "spec" in answer.message, f"{what}: no field in {answer.message}"
            assert "evaluat" not in answer.message, f"{what}: a rule itself failed: {answer.message}"
            assert UNKNOWN_FIELD in answer.message or _refused_here(mutant), f"{what}: only there: {answer.message}"
    assert taken > 5, "some changes do no harm"
    assert refused > 150


def _apply(server: Admission, manifest: Manifest, *arguments: str) -> tuple[int, str]:
    done = server.api.kubectl("apply", "-f", "-", *arguments, input=json.dumps(manifest), check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("scheduler", {"name": "fastest"}, 'spec.scheduler.name: Unsupported value: "fastest": supported values: "rr"'),
        ("addresses", ["127.0.0.1"], 'spec.addresses[0]: Invalid value: "127.0.0.1": must not be a loopback address'),
        ("realServers", [{}], "spec.realServers[0]: Invalid value: exactly one of address and service must be set"),
        ("monitor", [], 'strict decoding error: unknown field "spec.monitor"'),
    ],
)
def test_kubectl_shows_a_person_what_is_wrong(server: Admission, path: str, value: Any, shown: str) -> None:
    manifest = copy.deepcopy(base("virtualserver.yaml"))
    manifest["spec"][path] = value
    code, text = _apply(server, manifest)
    assert code == 1
    assert shown in text


def test_kubectl_get_shows_address_mode_real_servers_director_and_why(server: Admission) -> None:
    manifest = copy.deepcopy(base("virtualserver.yaml"))
    assert _apply(server, manifest)[0] == 0
    available = {"type": "Available", "status": "True", "reason": "RealServersUp"}
    status = {"activeDirector": "director-1", "readyRealServers": "2/2", "conditions": [available]}
    patch = json.dumps({"status": status})
    server.api.kubectl("patch", "vs", "corpus", "--subresource=status", "--type=merge", "-p", patch)
    header, row = server.api.kubectl("get", "vs").stdout.splitlines()
    words = ["NAME", "ADDRESS", "MODE", "REAL", "SERVERS", "DIRECTOR", "AVAILABLE", "REASON", "AGE"]
    assert header.split() == words
    assert row.split()[:-1] == ["corpus", "198.18.0.150", "NAT", "2/2", "director-1", "True", "RealServersUp"]
    wide = server.api.kubectl("get", "virtualserver", "-o", "wide").stdout
    assert "ALL-ADDRESSES" in wide
    assert '["198.18.0.150"]' in wide


def test_kubectl_get_shows_director_groups_and_how_addresses_came_where_they_are(server: Admission) -> None:
    assert _apply(server, base("directorgroup.yaml"))[0] == 0
    failover = {
        "time": "2026-01-01T00:00:00Z",
        "node": "director-2",
        "reason": "DirectorLost",
        "message": "director-1 was not heard",
        "silent": "280ms",
    }
    reasons = {"Accepted": "Accepted", "Degraded": "DirectorsReady"}
    conditions = [{"type": name, "status": "True", "reason": reason} for name, reason in reasons.items()]
    status = {"activeDirector": "director-2", "standbys": "director-3", "lastFailover": failover}
    patch = json.dumps({"status": status | {"conditions": conditions}})
    server.api.kubectl("patch", "dg", "corpus", "--subresource=status", "--type=merge", "-p", patch)
    header, row = server.api.kubectl("get", "dg").stdout.splitlines()
    assert header.split() == ["NAME", "INTERFACE", "ACTIVE", "STANDBYS", "LAST", "FAILOVER", "WHY", "DEGRADED", "AGE"]
    assert re.fullmatch(r"corpus +eth0 +director-2 +director-3 +\d+[smhdy]\S* +DirectorLost +DirectorsReady +\d+s", row)
    header, row = server.api.kubectl("get", "dg", "-o", "wide").stdout.splitlines()
    assert header.split()[-3:] == ["SILENT", "MESSAGE", "ACCEPTED"]
    assert re.search(r" 280ms +director-1 was not heard +Accepted$", row.strip())


def test_kubectl_explain_tells_how_directors_agree(server: Admission) -> None:
    vrrp, mirroring = (server.api.kubectl("explain", f"dg.spec.{name}").stdout for name in ("vrrp", "mirroring"))
    assert "20ms to 40s. Default: 20ms." in _joined(vrrp)
    assert "From 1 to 255. Default: 51." in _joined(vrrp)
    assert "must agree on all of this but the sync id." in _joined(mirroring)
    assert "Default: the router id. From 1 to 255." in _joined(mirroring)


def _joined(text: str) -> str:
    return " ".join(text.split())


def test_kubectl_explain_tells_defaults_and_choices(server: Admission) -> None:
    shown = server.api.kubectl("explain", "vs.spec.realServers").stdout
    assert "exactly one" in shown
    assert "enum: Enabled, Draining, Offline" in shown
    assert "Default: Enabled." in shown
    assert "From 0 to 65535. Default: 1." in shown


def test_kubectl_explain_names_every_scheduler(server: Admission) -> None:
    """Of a long list of choices it shows only the first ones."""
    shown = server.api.kubectl("explain", "vs.spec.scheduler").stdout
    name = shown.partition("  name")[2].partition("  onePacket")[0]
    choices = next(line for line in name.splitlines() if "enum:" in line)
    assert set(SCHEDULERS) <= set(re.findall(r"\w+", name.replace(choices, "")))
