"""The models as the programs use them: durations, tolerance of newer fields, the form on the wire."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from virtualserver.api import rules
from virtualserver.api.base import seconds
from virtualserver.api.virtualserver import RealServer, Scheduler, VirtualServerSpec
from virtualserver.model.schedulers import SCHEDULERS

MINIMAL = {"addresses": ["198.18.0.100"], "ports": [{"port": 80}], "realServers": [{"address": "198.18.1.21"}]}


@pytest.mark.parametrize(
    ("duration", "expected"),
    [("500ms", 0.5), ("2s", 2.0), ("1m30s", 90.0), ("1h", 3600.0), ("1h1m1s1ms", 3661.001), ("0s", 0.0)],
)
def test_a_duration_is_read_in_seconds(duration: str, expected: float) -> None:
    assert seconds(duration) == pytest.approx(expected)


@pytest.mark.parametrize("wrong", ["", "5", "s", "1.5s", "-1s", "2d", "1s ", "1s\n", "1h1m1s1ms1ms", "123456s", "１s"])
def test_what_is_no_duration_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        seconds(wrong)


def test_fields_of_a_newer_version_are_passed_over() -> None:
    newer = {**MINIMAL, "slowRamp": "30s", "ports": [{"port": 80, "quic": {}}]}
    assert VirtualServerSpec.model_validate(newer) == VirtualServerSpec.model_validate(MINIMAL)


def test_the_wire_form_reads_back_to_the_same_value() -> None:
    spec = VirtualServerSpec.model_validate(MINIMAL)
    wire = spec.wire()
    assert VirtualServerSpec.model_validate(wire) == spec
    assert wire["realServers"] == [{"address": "198.18.1.21", "weight": 1, "adminState": "Enabled"}]


def test_a_value_cannot_be_changed() -> None:
    server = RealServer.model_validate({"address": "198.18.1.21"})
    with pytest.raises(ValidationError):
        server.weight = 2  # type: ignore[misc]  # frozen: that is what is tested


def test_the_rule_for_flags_knows_every_scheduler_that_has_some() -> None:
    message = rules.SCHEDULER[0].message
    for name, flags in SCHEDULERS.items():
        assert bool(flags) == bool(re.search(rf"\b{name} has ", message))
        assert all(flag.startswith(f"{name}-") and flag in message for flag in flags)
        Scheduler.model_validate({"name": name, "flags": list(flags)})
