"""What a ``VirtualServer``'s status says. Each part has one writer (its field manager):

controller: observedGeneration, conditions Accepted, ResolvedRefs, Degraded (made from all findings) and Mirrored
(made from what the standbys of the group measured);
the active director's agent: conditions Programmed and Available, realServers, readyRealServers,
activeDirector, and its own entry of directors.
Where no director is active, or the active one does not answer, the controller says so in its place; of a director
that does not answer it says that its role is unknown; what the agent of a node said that is no director any more, the
controller takes back.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from virtualserver.api.base import ApiModel
from virtualserver.api.enums import DirectorRole, RealServerState


class Condition(ApiModel):
    """A condition as ``metav1.Condition`` has it."""

    type: str = Field(description="Name of the condition.", max_length=316)
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(description="One word why.", max_length=1024)
    message: str = Field("", description="The same in a sentence.", max_length=32768)
    observed_generation: int | None = Field(None, description="Generation of the spec that this is about.")
    last_transition_time: str | None = Field(
        None, description="When status last changed.", json_schema_extra={"format": "date-time"}
    )


class RealServerStatus(ApiModel):
    """What the active director knows of one real server and port."""

    address: str = Field(description="Address of the real server.")
    port: int = Field(description="Port on the real server.")
    state: RealServerState = Field(description="Up, Down, Draining, Offline or Unknown.")
    reason: str = Field(description="One word why.")
    message: str | None = Field(None, description="The same in a sentence.")
    since: str | None = Field(None, description="When state last changed.", json_schema_extra={"format": "date-time"})
    weight: int = Field(description="Weight in the kernel now; 0 gives no new connections.")
    source: str | None = Field(None, description="Where it comes from: Address, or Service/NAME.")


class KernelRealServer(ApiModel):
    """A real server as read from the kernel."""

    address: str = Field(description="Address.")
    port: int = Field(description="Port.")
    weight: int = Field(description="Weight.")


class KernelService(ApiModel):
    """A virtual service as read from the kernel."""

    protocol: str = Field(description="Transport protocol.")
    address: str = Field(description="Virtual address.")
    port: int = Field(description="Port.")
    scheduler: str = Field(description="Scheduler and its flags, as `ipvsadm` shows them.")
    real_servers: list[KernelRealServer] = Field(
        [], description="Its real servers (the first 64).", json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )


class FindingStatus(ApiModel):
    """Something that stands in the way of packets, seen by one node before or while they flow (preflight)."""

    reason: str = Field(description="One word: what is wrong. docs/preflight.md lists them.")
    message: str = Field(description="What is wrong, where, and the way out.")
    real_server: str | None = Field(None, description="The real server that it is about, when it is about one.")


FINDINGS: Any = Field(
    default=[],
    description="What is wrong here for this virtual server (the first 32).",
    json_schema_extra={"x-kubernetes-list-type": "atomic"},
)


class DirectorStatus(ApiModel):
    """What one director's kernel holds for this virtual server, read back, not assumed."""

    node: str = Field(description="Name of the node.")
    role: DirectorRole = Field(description="Active, Standby, or Unknown while its agent does not answer.")
    programmed_generation: int | None = Field(None, description="Generation of the spec that the kernel holds.")
    announced: list[str] = Field([], description="Virtual addresses on the director's link.")
    services: list[KernelService] = Field(
        [], description="Virtual services in the kernel.", json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    findings: list[FindingStatus] = FINDINGS
    reported: str | None = Field(None, description="When this changed last.", json_schema_extra={"format": "date-time"})


class NodeStatus(ApiModel):
    """What one node with real servers holds for this virtual server, read back (modes Tunnel and DirectRouting)."""

    node: str = Field(description="Name of the node.")
    programmed_generation: int | None = Field(None, description="Generation of the spec that the kernel holds.")
    reason: str = Field(description="One word: Programmed, or why it is not.")
    message: str = Field(description="The same in a sentence.")
    ready_pods: str | None = Field(None, description="How many pods of this node are up, of how many.")
    findings: list[FindingStatus] = FINDINGS
    reported: str | None = Field(None, description="When this changed last.", json_schema_extra={"format": "date-time"})


class VirtualServerStatus(ApiModel):
    """The seen state of a virtual server."""

    observed_generation: int | None = Field(None, description="Generation of the spec that this status is about.")
    conditions: list[Condition] = Field(
        [],
        description="What is so, and why.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    active_director: str | None = Field(None, description="Node that serves the addresses now.")
    ready_real_servers: str | None = Field(None, description="How many real servers are up, of how many.")
    real_servers: list[RealServerStatus] = Field(
        [],
        description="Every real server with its state, reason and since when.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["address", "port"],
        },
    )
    directors: list[DirectorStatus] = Field(
        [],
        description="What each director holds.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["node"]},
    )
    nodes: list[NodeStatus] = Field(
        [],
        description="What each node with real servers holds, in modes Tunnel and DirectRouting.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["node"]},
    )
