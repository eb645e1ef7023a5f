"""Figures of this node in Prometheus's text format; it is a few lines, so no library of its own makes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from virtualserver.agent.following import Figures
from virtualserver.agent.view import View
from virtualserver.api.enums import GroupRole, RealServerState
from virtualserver.model.types import ServiceKey
from virtualserver.plan.eligibility import role
from virtualserver.plan.mirroring import TICK

Sample = tuple[Mapping[str, str], float]
Held = Mapping[ServiceKey, tuple[int, int]]
"""Connections of each virtual service: active ones, and others."""

_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Metrics:
    """``figures`` are the last comparisons by group, ``terms`` counts how often this node became active."""

    def __init__(
        self,
        view: Callable[[], View | None],
        figures: Callable[[], Mapping[str, Figures]],
        terms: Mapping[str, int],
    ) -> None:
        self._view, self._figures, self._terms = view, figures, terms

    def text(self, held: Held) -> str:
        """Return all figures; ``held`` is what the kernel counts now."""
        lines = []
        for name, (about, samples) in self._families(held).items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP virtualserver_{name} {about}", f"# TYPE virtualserver_{name} {kind}"] * bool(samples)
            lines += [f"virtualserver_{name}{_labels(labels)} {_number(value)}" for labels, value in samples]
        return "".join(f"{line}\n" for line in lines)

    def _families(self, held: Held) -> dict[str, tuple[str, list[Sample]]]:
        view, found = self._view(), sorted(self._figures().items())
        return {
            "group_role": ("1 for what this node is to a group.", _roles(view) if view else []),
            "failovers_total": (
                "Times that this node became active since its agent started.",
                [({"group": group}, count) for group, count in sorted(self._terms.items())],
            ),
            "mirror_compared_connections": (
                "Connections of the active director in the last comparison.",
                [({"group": group}, one.compared) for group, one in found],
            ),
            "mirror_missing_connections": (
                "Those of them that were missing here.",
                [({"group": group}, one.missing) for group, one in found],
            ),
            "mirror_share": (
                "Share of the active director's connections that are here.",
                [({"group": group}, 1 - one.missing / one.compared if one.compared else 1) for group, one in found],
            ),
            "mirror_lag_seconds": (
                "Connections older than this are all here; +Inf while some are not.",
                [({"group": group}, float("inf") if one.missing else one.interval) for group, one in found],
            ),
            "connections": (
                "Connections that the kernel keeps, by virtual service.",
                [
                    ({"service": str(key), "state": state}, count)
                    for key, counts in held.items()
                    if key != TICK
                    for state, count in zip(("active", "inactive"), counts, strict=True)
                ],
            ),
            "real_servers": (
                "Real servers of virtual servers that are active here, by state.",
                _real_servers(view) if view else [],
            ),
        }


def _roles(view: View) -> list[Sample]:
    samples: list[Sample] = []
    for group, finding in sorted(view.plan.groups.items()):
        said, _ = role(group, finding, view.standing, view.actual)
        roles = (one for one in GroupRole if one is not GroupRole.UNKNOWN)
        samples += [({"group": group, "role": one}, one is said) for one in roles]
    return samples


def _real_servers(view: View) -> list[Sample]:
    samples: list[Sample] = []
    for key, listed in sorted(view.plan.real_servers.items()):
        states = Counter(one.health.state for one in listed)
        named = {"namespace": key.namespace, "name": key.name}
        samples += [(named | {"state": state}, states[state]) for state in RealServerState]
    return samples


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else f"{value:.10g}"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in labels.items()) + "}"
