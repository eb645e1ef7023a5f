"""What each real server gets, from what its owner, Kubernetes and the monitors say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from virtualserver.api.base import seconds
from virtualserver.api.enums import OnDown, RealServerState
from virtualserver.api.reasons import Reason
from virtualserver.api.virtualserver import VirtualServerSpec
from virtualserver.model.monitoring import Target
from virtualserver.model.types import DestinationKey
from virtualserver.plan.health import UNMONITORED, Health
from virtualserver.plan.realservers import Candidate, Wish
from virtualserver.plan.world import ObjectKey, VirtualServer

HealthOf = Callable[[ObjectKey, DestinationKey], Health]


@dataclass(frozen=True, slots=True)
class RealServerPlan:
    """One real server of one port: what it is, and the weight it gets (None: not in the table)."""

    candidate: Candidate
    health: Health
    weight: int | None

    @property
    def ready(self) -> bool:
        """True when it gets new connections."""
        return self.health.state is RealServerState.UP and bool(self.weight)


def share(spec: VirtualServerSpec, owner: ObjectKey, candidate: Candidate, health_of: HealthOf) -> RealServerPlan:
    """Return what one real server gets."""
    if candidate.wish is Wish.STAY_OUT:
        offline = candidate.reason is Reason.ADMIN_OFFLINE
        state = RealServerState.OFFLINE if offline else RealServerState.DOWN
        return RealServerPlan(candidate, Health(state, candidate.reason, candidate.message), None)
    health = health_of(owner, candidate.key) if spec.monitors else UNMONITORED
    if health.state is not RealServerState.UP:
        quiesced = on_down(spec) is OnDown.QUIESCE
        draining = candidate.wish is Wish.DRAIN and health.state is RealServerState.UNKNOWN
        return RealServerPlan(candidate, health, 0 if quiesced or draining else None)
    if candidate.wish is Wish.DRAIN:
        return RealServerPlan(candidate, Health(RealServerState.DRAINING, candidate.reason, health.message), 0)
    return RealServerPlan(candidate, health, candidate.weight)


def targets(server: VirtualServer, candidate: Candidate) -> list[Target]:
    """Return the checks of one real server; none for one that nobody wants to serve."""
    if server.spec is None or candidate.wish is Wish.STAY_OUT:
        return []
    return [
        Target(
            monitor.type,
            candidate.key.address,
            (monitor.tcp.port if monitor.tcp else None) or candidate.key.port,
            seconds(monitor.interval),
            seconds(monitor.timeout),
        )
        for monitor in server.spec.monitors
    ]


def on_down(spec: VirtualServerSpec) -> OnDown:
    """Return what happens to a real server that is down: Remove as soon as one monitor says so."""
    quiesce = spec.monitors and all(monitor.on_down is OnDown.QUIESCE for monitor in spec.monitors)
    return OnDown.QUIESCE if quiesce else OnDown.REMOVE
