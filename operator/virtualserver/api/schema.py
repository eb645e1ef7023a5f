"""From pydantic's JSON schema to the structural schema that a custom resource definition may hold. Pure.

pydantic                                         structural schema
``$ref`` and ``$defs``                           written out where it is used; the use's own words win
``anyOf: [X, null]`` with ``default: null``      X, optional, without a default
``title``                                        dropped: it only repeats the field's name
``default`` of a model                           the wire form, without what is not set
``const``                                        an ``enum`` of one
``integer``                                      with ``format`` int32 or int64

Every other keyword must be on the list of what an API server takes; anything else is an error here, not there.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from pydantic import BaseModel

from virtualserver.api.rule import LIST_KEYS, LIST_TYPE, MAP_TYPE, RULES

Schema = dict[str, Any]

KEYWORDS = (
    "description",
    "type",
    "format",
    "enum",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "properties",
    "additionalProperties",
    "items",
    LIST_TYPE,
    LIST_KEYS,
    MAP_TYPE,
    RULES,
)
"""What may stand in a schema, in the order in which it is written."""

_INT32_MAX = 2**31 - 1


class SchemaError(Exception):
    """A model says something that a structural schema cannot."""


def structural(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """Return the structural schema of a model; without ``defaults`` for a status, which others fill in."""
    raw = model.model_json_schema(by_alias=True)
    return _convert(raw, raw.get("$defs", {}), defaults, model.__name__)


def _convert(node: Schema, definitions: dict[str, Schema], defaults: bool, path: str) -> Schema:
    node = _optional(_referenced(node, definitions, path), definitions, path)
    made: Schema = {}
    for keyword, value in node.items():
        if keyword == "properties":
            made[keyword] = {
                name: _convert(child, definitions, defaults, f"{path}.{name}") for name, child in value.items()
            }
        elif keyword in ("items", "additionalProperties") and isinstance(value, dict):
            made[keyword] = _convert(value, definitions, defaults, f"{path}[]")
        elif keyword == "default":
            if defaults and value is not None:
                made[keyword] = _without_null(value)
        elif keyword == "description":
            made[keyword] = " ".join(value.split())
        elif keyword == "const":
            made["enum"] = [value]
        elif keyword in KEYWORDS:
            made[keyword] = copy.deepcopy(value)
        elif keyword not in ("title", "$defs"):
            raise SchemaError(f"{path}: a structural schema has no {keyword!r}")
    _number_format(made)
    _say_limits(made)
    if "type" not in made:
        raise SchemaError(f"{path}: has no type")
    return {keyword: made[keyword] for keyword in KEYWORDS if keyword in made}


def _referenced(node: Schema, definitions: dict[str, Schema], path: str) -> Schema:
    """Put the definition in the place of a reference; rules of both hold, other words of the use win."""
    if "$ref" not in node:
        return node
    target = definitions[node["$ref"].removeprefix("#/$defs/")]
    merged = {**_referenced(target, definitions, path), **{k: v for k, v in node.items() if k != "$ref"}}
    if RULES in target and RULES in node:
        merged[RULES] = [*target[RULES], *node[RULES]]
    return merged


def _optional(node: Schema, definitions: dict[str, Schema], path: str) -> Schema:
    """Return X for ``anyOf: [X, null]``; every other union is refused."""
    if "anyOf" not in node:
        return node
    others = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
    if len(others) != 1 or len(node["anyOf"]) != 2:
        raise SchemaError(f"{path}: unions need a discriminator and a rule, not anyOf")
    rest = {keyword: value for keyword, value in node.items() if keyword != "anyOf"}
    return {**_referenced(others[0], definitions, path), **rest}


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_null(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_null(member) for member in value]
    return value


def _number_format(made: Schema) -> None:
    if made.get("type") == "integer":
        made["format"] = "int32" if made.get("maximum", _INT32_MAX + 1) <= _INT32_MAX else "int64"


def _say_limits(made: Schema) -> None:
    """Append range and default to the description: ``kubectl explain`` shows neither."""
    said = []
    if "minimum" in made and "maximum" in made:
        said.append(f"From {made['minimum']} to {made['maximum']}.")
    if isinstance(made.get("default"), str | int):
        said.append(f"Default: {made['default'] if isinstance(made['default'], str) else json.dumps(made['default'])}.")
    if said:
        made["description"] = " ".join([made["description"], *said])
