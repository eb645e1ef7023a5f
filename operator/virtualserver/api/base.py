"""What all API models share: camelCase on the wire, frozen, tolerant of fields of a newer version."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP = "virtualserver.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

DURATION_PATTERN = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
"""Durations as the Gateway API writes them (GEP-2257)."""

PATTERN_MESSAGE = "x-pattern-message"
"""Schema keyword of our own beside ``pattern``: what a person is told when the value does not match."""

_DURATION_PART = re.compile(r"([0-9]{1,5})(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def text(pattern: str, message: str, max_length: int, rules: list[dict[str, str]] | None = None) -> Any:
    """Return what ``Annotated`` needs for a string with a form; the message says how the form looks."""
    extra: dict[str, Any] = {PATTERN_MESSAGE: message, "x-kubernetes-validations": rules or []}
    return Field(pattern=pattern, max_length=max_length, json_schema_extra=extra)


def duration(rules: list[dict[str, str]]) -> Any:
    """Return what ``Annotated`` needs for a duration that satisfies ``rules``."""
    return text(DURATION_PATTERN, "must be a duration such as 500ms, 2s or 1m30s", 32, rules)


class ApiModel(BaseModel):
    """Base of every API type. Unknown fields are ignored: an older agent survives a newer definition."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    def wire(self) -> dict[str, Any]:
        """Return the JSON form as the API server takes it, without unset optional fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def seconds(duration: str) -> float:
    """Return a duration such as ``1m30s`` or ``500ms`` in seconds; raises ValueError when it is none."""
    if not re.fullmatch(DURATION_PATTERN, duration):
        raise ValueError(f"not a duration: {duration!r}")
    return sum(int(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(duration))


def rule(expression: str, message: str, path: str = "", details: str = "") -> dict[str, str]:
    """Return one CEL rule for ``x-kubernetes-validations``.

    ``path`` names the field that is to blame; ``details`` is an expression that makes a message with the
    values in it (``message`` stands in where it cannot be evaluated).
    """
    made = {"rule": expression, "message": message}
    if details:
        made["messageExpression"] = details
    if path:
        made["fieldPath"] = path
    return made
