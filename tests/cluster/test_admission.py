"""Every manifest of the corpus, sent to a real API server: refused with the right words, or taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cluster.corpus.cases import Case, cases
from cluster.corpus.server import CHECKOUT, Admission, admission
from virtualserver.api.crds import KINDS, schema_of
from virtualserver.api.rule import RULES

BAD = cases("bad")
GOOD = cases("good")
EXAMPLES = [*sorted((CHECKOUT / "examples").glob("*.yaml")), CHECKOUT / "kind" / "sample.yaml"]
LONGEST_MESSAGE = 400
WAITING = ("may be set only with type TCP",)
"""Rules of unions that have one member so far: nothing can break them yet."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admission]:
    with admission(tmp_path_factory.mktemp("admission")) as ready:
        yield ready


def test_the_corpus_is_large_and_its_cases_differ() -> None:
    assert len(BAD) >= 200
    assert len(GOOD) >= 40
    names = [str(case) for case in BAD + GOOD]
    assert len(set(names)) == len(names)
    assert all(case.field and case.words for case in BAD)


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_manifest_is_refused_in_words_that_help(server: Admission, case: Case) -> None:
    answer = server.ask(case.manifest)
    assert not answer.taken, f"taken: {answer.body.get('spec')}"
    assert answer.status in (400, 422), answer.message
    if answer.status == 400:
        assert case.words in answer.message
        assert f'"{case.field}"' in answer.message
        return
    assert any(field == case.field and case.words in message for field, message in answer.complaints), answer.message
    assert len(answer.complaints) == case.messages, answer.message
    assert "evaluat" not in answer.message, "a rule itself failed"
    assert all(len(message) < LONGEST_MESSAGE for _, message in answer.complaints)


@pytest.mark.parametrize("case", GOOD, ids=str)
def test_good_manifest_is_taken(server: Admission, case: Case) -> None:
    answer = server.ask(case.manifest)
    assert answer.taken, answer.message


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_taken(server: Admission, path: object) -> None:
    shown = server.api.kubectl("apply", "--dry-run=server", "-f", str(path)).stdout
    assert "(server dry run)" in shown


def _rules(node: dict[str, Any]) -> Iterator[dict[str, str]]:
    yield from node.get(RULES, [])
    children = [*node.get("properties", {}).values(), node.get("items"), node.get("additionalProperties")]
    for child in children:
        if child:
            yield from _rules(child)


def test_every_rule_refuses_something_in_the_corpus(server: Admission) -> None:
    said = "\n".join(server.ask(case.manifest).message for case in BAD)
    for kind in KINDS:
        for rule in _rules(schema_of(kind)):
            words = rule["message"].removeprefix("a real server ").removeprefix("an address ").split(";")[0]
            assert (words in said) != (words in WAITING), f"no case for: {rule}"


def test_the_lab_uses_the_example_of_a_director_group() -> None:
    ours, theirs = CHECKOUT / "examples" / "directorgroup.yaml", CHECKOUT / "tests" / "lab" / "manifests"
    labs = yaml.safe_load((theirs / "directorgroup.yaml").read_text())
    del labs["spec"]["vrrp"]  # emulated machines need more patience
    assert yaml.safe_load(ours.read_text()) == labs
