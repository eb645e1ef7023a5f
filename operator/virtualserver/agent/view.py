"""What the agent's loop knew at the end of its last round, for what works beside it."""

from __future__ import annotations

from dataclasses import dataclass

from virtualserver.model.types import State
from virtualserver.plan.desired import Plan
from virtualserver.plan.eligibility import Standing
from virtualserver.plan.world import World


@dataclass(frozen=True, slots=True)
class View:
    """The cluster, what this node should hold and does hold, and what it is to its groups."""

    world: World
    plan: Plan
    standing: Standing
    actual: State
