"""From models to a structural schema: what is turned into what, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from virtualserver.api.base import ApiModel
from virtualserver.api.crds import KINDS, definition, main, render, schema_of
from virtualserver.api.rule import RULES, Rule, Text, form
from virtualserver.api.schema import KEYWORDS, SchemaError, structural

NOT_X = Rule("self != 'x'", "must not be x", lambda text: text != "x")


class Inner(ApiModel):
    """An inner thing."""

    size: Annotated[int, Field(ge=1, le=9)] = Field(3, description="How large.")
    big: int | None = Field(None, description="A large number.")


class Outer(ApiModel):
    """An outer thing."""

    choice: Literal["a", "b"] = Field("a", description="One of two.")
    only: Literal["a"] = Field("a", description="One of one.")
    inner: Inner = Field(Inner(), description="Its use speaks.")
    perhaps: Inner | None = Field(None, description="May be left out.")
    named: Annotated[str, Text(9, form("^[a-z]+\\s$", "must be a word"), NOT_X)] = Field(description="With a form.")
    on: bool = Field(False, description="A switch.")
    many: list[Inner] = Field([], description="A list.")


def test_a_field_says_its_range_and_default() -> None:
    inner = structural(Outer)["properties"]["inner"]
    assert inner["description"] == "Its use speaks."
    assert inner["properties"]["size"]["description"] == "How large. From 1 to 9. Default: 3."
    assert structural(Outer)["properties"]["on"]["description"] == "A switch. Default: false."


def test_optional_members_lose_null_and_numbers_get_a_format() -> None:
    perhaps = structural(Outer)["properties"]["perhaps"]
    assert perhaps["type"] == "object"
    assert "default" not in perhaps
    assert perhaps["properties"]["size"]["format"] == "int32"
    assert perhaps["properties"]["big"] == {"description": "A large number.", "type": "integer", "format": "int64"}


def test_defaults_of_models_are_what_a_user_would_write() -> None:
    assert structural(Outer)["properties"]["inner"]["default"] == {"size": 3}
    assert structural(Outer)["properties"]["many"]["default"] == []


def test_a_status_has_no_defaults() -> None:
    made = structural(Outer, defaults=False)
    assert all("default" not in node for _, node in _walk(made, ""))


def test_a_form_becomes_a_rule_with_words_for_people() -> None:
    named = structural(Outer)["properties"]["named"]
    assert "pattern" not in named
    assert named[RULES] == [{"rule": 'self.matches("^[a-z]+\\\\s$")', "message": "must be a word"}, NOT_X.wire()]


def test_choices_of_one_are_still_choices() -> None:
    assert structural(Outer)["properties"]["only"]["enum"] == ["a"]


class Union(ApiModel):
    """What a structural schema cannot say."""

    either: int | str = Field(description="Either.")


class Exclusive(ApiModel):
    """What nobody has asked for yet."""

    number: Annotated[int, Field(gt=0)] = Field(description="A number.")


class Anything(ApiModel):
    """What has no type."""

    value: Any = Field(description="Anything.")


@pytest.mark.parametrize(
    ("model", "words"),
    [(Union, "Union.either: unions need"), (Exclusive, "exclusiveMinimum"), (Anything, "Anything.value: has no type")],
)
def test_what_cannot_be_said_is_an_error_here_not_in_the_cluster(model: type[ApiModel], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        structural(model)


def _walk(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from _walk(child, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if keyword in node:
            yield from _walk(node[keyword], f"{path}[]")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_field_of_every_kind_is_described_and_bounded(kind: Any) -> None:
    for path, node in _walk(schema_of(kind), kind.name):
        assert set(node) <= set(KEYWORDS), path
        if path.split(".")[-1] != "metadata" and not path.endswith("[]"):
            assert len(node.get("description", "")) > 4, f"{path} has no description"
            assert node["description"].endswith("."), path
        if ".spec." in path and node["type"] == "string" and "enum" not in node:
            assert node["maxLength"] <= 253, f"{path}: the API server reckons with the worst"
        if ".spec." in path and node["type"] == "array":
            assert node["maxItems"] <= 256, path
        if ".spec." in path and node["type"] == "integer":
            assert {"minimum", "maximum"} <= set(node), path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_rule_has_a_message_that_does_not_repeat_its_field(kind: Any) -> None:
    for path, node in _walk(schema_of(kind), kind.name):
        for made in node.get(RULES, []):
            assert set(made) <= {"rule", "message", "messageExpression", "fieldPath"}
            assert made["message"], path
            field = made.get("fieldPath", "").rpartition(".")[2]
            assert not field or not made["message"].startswith(f"{field} must"), f"{path}: {made['message']}"
            assert not field or field in node["properties"], f"{path}: no field {field}"


def test_names_columns_and_subresources() -> None:
    virtual_server, group = (definition(kind)["spec"] for kind in KINDS)
    assert (virtual_server["scope"], group["scope"]) == ("Namespaced", "Cluster")
    assert virtual_server["names"]["shortNames"] == ["vs"]
    assert group["names"]["shortNames"] == ["dg"]
    version = virtual_server["versions"][0]
    assert version["subresources"] == {"status": {}}
    wide = [column["name"] for column in version["additionalPrinterColumns"] if column.get("priority")]
    assert wide == ["All-Addresses", "Degraded", "Finding"]


def test_the_files_are_the_same_every_time_and_written_everywhere(tmp_path: Path) -> None:
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    for name, made in render().items():
        assert (tmp_path / "a" / name).read_text() == (tmp_path / "b" / name).read_text() == made
    assert main([]) == 2
