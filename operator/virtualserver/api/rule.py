"""A rule of the API in two spellings: CEL for the API server, Python for ourselves. One table holds both.

The API server refuses with its spelling. A server whose definition is older lets through what a newer one
refuses, and the kernel validates almost nothing: so whoever reads an object with these models refuses it too,
in the same words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, ValidationError, core_schema

RULES = "x-kubernetes-validations"
LIST_TYPE, LIST_KEYS = "x-kubernetes-list-type", "x-kubernetes-list-map-keys"
MAP_TYPE = "x-kubernetes-map-type"


@dataclass(frozen=True, slots=True)
class Rule:
    """``cel`` over ``self`` and ``holds`` over the value say the same; ``message`` is for who breaks it.

    ``path`` names the member that is to blame. ``details`` (CEL) and ``says`` make a message with the values
    in it, where one helps; ``message`` stands in where ``details`` cannot be evaluated.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]
    path: str = ""
    details: str = ""
    says: Callable[[Any], str] | None = None

    def wire(self) -> dict[str, str]:
        """Return the rule as it stands in a definition."""
        made = {"rule": self.cel, "message": self.message}
        if self.details:
            made["messageExpression"] = self.details
        if self.path:
            made["fieldPath"] = self.path
        return made

    def check(self, value: Any) -> None:
        """Raise PydanticCustomError when the value breaks the rule."""
        if not self.holds(value):
            raise broken(self.says(value) if self.says else self.message, self.path)


def broken(message: str, path: str = "") -> PydanticCustomError:
    """Return the error of a broken rule; ``path`` leads from the checked value to the member to blame."""
    return PydanticCustomError("rule", "{message}", {"message": message, "path": path})


def form(pattern: str, message: str) -> Rule:
    """Return the rule of a string with a form; a person is told ``message``, not the expression."""
    compiled = re.compile(pattern)
    return Rule(f"self.matches({json.dumps(pattern)})", message, lambda text: compiled.fullmatch(text) is not None)


class Checked:
    """For ``Annotated``: the value must keep these rules. The first broken one is reported."""

    def __init__(self, *rules: Rule) -> None:
        self._rules = rules

    def _check(self, value: Any) -> Any:
        for rule in self._rules:
            rule.check(value)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check after everything else."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Put the rules beside what else holds."""
        made = handler(core)
        return {**made, RULES: [*made.get(RULES, []), *(rule.wire() for rule in self._rules)]}


class Text(Checked):
    """The same for a ``str`` of at most ``max_length`` characters."""

    def __init__(self, max_length: int, *rules: Rule) -> None:
        super().__init__(*rules)
        self._max_length = max_length
        self._first_broken = lru_cache(maxsize=16384)(self._look)  # the same few texts come again with every status

    def _look(self, text: str) -> Rule | None:
        return next((rule for rule in self._rules if not rule.holds(text)), None)

    def _check(self, text: Any) -> Any:
        rule = self._first_broken(text)
        if rule is not None:
            rule.check(text)
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the length before the rules."""
        text = core_schema.str_schema(max_length=self._max_length)
        return core_schema.no_info_after_validator_function(self._check, text)


class Distinct:
    """For ``Annotated``: a list of type ``map`` by ``keys`` (names on the wire), of type ``set`` without any.

    The API server refuses a second member with the same keys, or the same member again; so do we.
    """

    def __init__(self, *keys: str) -> None:
        self._keys = keys

    def _check(self, members: list[Any]) -> list[Any]:
        seen = set()
        for index, member in enumerate(members):
            key = {name: getattr(member, name) for name in self._keys} if self._keys else member
            text = json.dumps(key, separators=(",", ":"))
            if text in seen:
                raise broken(f"Duplicate value: {text}", f"[{index}]")
            seen.add(text)
        return members

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check after everything else."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Say the type of the list."""
        said: dict[str, Any] = {LIST_TYPE: "map", LIST_KEYS: list(self._keys)} if self._keys else {LIST_TYPE: "set"}
        return {**handler(core), **said}


def first_problem(error: ValidationError) -> str:
    """Return ``spec.monitors[0].timeout: must not be longer ...``: the field, what is wrong, and what was found."""
    first = error.errors(include_url=False)[0]
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    where = "spec" + "".join(steps) + first.get("ctx", {}).get("path", "")
    found = first["input"]
    shown = f" (got {found!r:.80})" if found is None or isinstance(found, str | int | float) else ""
    return f"{where}: {first['msg']}{shown}"
