"""Status and events of the agent, handed to the writers of the cluster layer."""

from __future__ import annotations

from virtualserver.agent.groups import GroupStatuses
from virtualserver.cluster.events import EventWriter, Subject
from virtualserver.cluster.resources import VIRTUAL_SERVERS
from virtualserver.cluster.status import StatusWriter
from virtualserver.plan.status import Json
from virtualserver.plan.transitions import Transition
from virtualserver.plan.world import ObjectKey, VirtualServer


class ClusterReporter:
    """What the loop wants to say, in the cluster's terms."""

    def __init__(self, statuses: StatusWriter, groups: GroupStatuses, events: EventWriter) -> None:
        self._statuses = statuses
        self._groups = groups
        self._events = events

    def status(self, key: ObjectKey, status: Json | None, uid: str = "") -> None:
        """Say what is so now; None: nothing any more."""
        self._statuses.set(key, status, uid)

    def group(self, name: str, status: Json | None) -> None:
        """Say what this node is to a group; None: nothing any more."""
        self._groups.set(name, status)

    def event(self, server: VirtualServer, transition: Transition) -> None:
        """Say what happened."""
        tell = self._events.warning if transition.warning else self._events.normal
        tell(Subject(VIRTUAL_SERVERS, server.key, server.uid), transition.reason, transition.note)
