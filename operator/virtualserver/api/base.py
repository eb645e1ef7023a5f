"""What all API models share: camelCase on the wire, frozen, tolerant of fields of a newer version."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from virtualserver.api.rule import RULES, Rule

GROUP = "virtualserver.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

DURATION_PATTERN = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
"""Durations as the Gateway API writes them (GEP-2257)."""

_DURATION_PART = re.compile(r"([0-9]{1,5})(ms|h|m|s)")
_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


class ApiModel(BaseModel):
    """Base of every API type. Unknown fields are ignored: an older agent survives a newer definition."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)
    validations: ClassVar[tuple[Rule, ...]] = ()
    """What must hold between the members."""

    @model_validator(mode="after")
    def _keep_rules(self) -> Self:
        for rule in self.validations:
            rule.check(self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Put the rules beside what else holds."""
        made = handler(core)
        if cls.validations:
            handler.resolve_ref_schema(made)[RULES] = [rule.wire() for rule in cls.validations]
        return made

    def wire(self) -> dict[str, Any]:
        """Return the JSON form as the API server takes it, without unset optional fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def milliseconds(duration: str) -> int:
    """Return a duration such as ``1m30s`` or ``500ms`` in milliseconds; raises ValueError when it is none."""
    if not re.fullmatch(DURATION_PATTERN, duration):
        raise ValueError(f"not a duration: {duration!r}")
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in _DURATION_PART.findall(duration))


def seconds(duration: str) -> float:
    """Return a duration such as ``1m30s`` or ``500ms`` in seconds; raises ValueError when it is none."""
    return milliseconds(duration) / 1000
