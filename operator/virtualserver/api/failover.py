"""What a ``DirectorGroup`` says about ownership of its addresses: VRRP, connection mirroring, failovers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from virtualserver.api import rules
from virtualserver.api.base import ApiModel
from virtualserver.api.enums import GroupRole, MirrorState
from virtualserver.api.rule import Distinct
from virtualserver.api.values import LinkName, MulticastAddress, NodeName, PortNumber

AdvertisementInterval = Annotated[str, rules.duration(rules.between("20ms", "40s"), rules.WHOLE_CENTISECONDS)]
PreemptDelay = Annotated[str, rules.duration(rules.between("0s", "1000s"))]
RefreshPeriod = Annotated[str, rules.duration(rules.between("1s", "1h"), rules.WHOLE_SECONDS)]
NodeNames = Annotated[list[NodeName], Distinct()]


class Vrrp(ApiModel):
    """How the directors of a group agree which of them is active (VRRP version 3, RFC 9568)."""

    validations = rules.VRRP

    router_id: Annotated[int, Field(ge=1, le=255, strict=True)] = Field(
        51, description="Virtual router id: no other group, and no other VRRP router of the segment, may have it."
    )
    advertisement_interval: AdvertisementInterval = Field(
        "20ms", description="Time between two advertisements of the active director, 20ms to 40s."
    )
    missed_advertisements: Annotated[int, Field(ge=2, le=100, strict=True)] | None = Field(
        None,
        description=(
            "Advertisements missed in a row after which a standby takes over. Clients wait about this many "
            "intervals when a director crashes; fewer make false take-overs likelier where packets are lost. Not set: "
            "3, or as many as there are in 0.14 s, whichever is more; 7 at the default interval."
        ),
    )
    preferred_nodes: NodeNames = Field(
        [],
        max_length=16,
        description=(
            "Directors in the order in which they should be active; those not named come after these. Empty: the "
            "groups that share directors are spread over them."
        ),
    )
    preempt: bool = Field(
        False,
        strict=True,
        description=(
            "Let a director that returns take over from a less preferred one. Off: addresses stay where they are."
        ),
    )
    preempt_delay: PreemptDelay | None = Field(
        None, description="Time that a more preferred director waits before it takes over. Only with preempt."
    )
    unicast: bool = Field(
        False,
        strict=True,
        description=(
            "Send advertisements to each director's address instead of the multicast group 224.0.0.18. "
            "(Mirrored connections go to a multicast group all the same.)"
        ),
    )


class Mirroring(ApiModel):
    """How connections are mirrored to the standbys (the kernel's IPVS sync daemon)."""

    validations = rules.MIRRORING

    interface: LinkName | None = Field(
        None, description="Link of the directors over which connections are mirrored. Default: spec.interface."
    )
    group: MulticastAddress = Field("224.0.0.81", description="Multicast group that the daemons send to.")
    port: PortNumber = Field(8848, description="UDP port that the daemons send to.")
    sync_id: Annotated[int, Field(ge=1, le=255, strict=True)] | None = Field(
        None, description="Sync id, different for each group. Default: the router id."
    )
    threshold: Annotated[int, Field(ge=0, le=1000, strict=True)] = Field(
        0, description="Packets of a connection before it is mirrored; 0 mirrors it from its handshake on."
    )
    period: Annotated[int, Field(ge=1, le=1000, strict=True)] = Field(
        1, description="Every so many packets after the threshold a connection is mirrored again."
    )
    refresh_period: RefreshPeriod = Field(
        "10s", description="An unchanged connection is mirrored again at most this often, in whole seconds."
    )
    retries: Annotated[int, Field(ge=0, le=3, strict=True)] = Field(
        2, description="Times that a refresh is repeated, against loss of packets."
    )


class MirrorReport(ApiModel):
    """What a standby measured: connections of the active director that it has, too."""

    state: MirrorState = Field(description="InStep, Behind, Alone (nobody to compare with) or Unknown.")
    share: str | None = Field(None, description="Share of the active director's connections found here, at least.")
    lag: str | None = Field(None, description="Age of the youngest connections that are missing here, at most.")
    message: str | None = Field(None, description="What is wrong, in a sentence.")


class DirectorReport(ApiModel):
    """What one director says of itself; written by the agent of its node.

    While that agent does not answer, the controller says in its place that the role is unknown.
    """

    node: str = Field(description="Name of the node.")
    role: GroupRole = Field(description="Active, Standby, NotReady (it may not become active) or Unknown.")
    reason: str = Field(description="One word why.")
    message: str = Field(description="The same in a sentence.")
    addresses: list[str] = Field(
        [],
        description="Its own addresses on the group's links: the others take VRRP and mirrored connections from these.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    priority: int | None = Field(None, description="VRRP priority; the highest is the most preferred.")
    mirror: MirrorReport | None = Field(None, description="How well connections are mirrored to it.")
    caught_up: str | None = Field(None, description="Id of the failover request for which it is ready to take over.")
    lacking: int | None = Field(
        None, description="Virtual servers of the group that it cannot serve, as their status says; left out: none."
    )
    yields_to: str | None = Field(None, description="Director that is to take over, because that one can serve all.")
    since: str | None = Field(None, description="When role last changed.", json_schema_extra={"format": "date-time"})


class FailoverRequest(ApiModel):
    """A planned failover that somebody asked for (``virtualserver failover``)."""

    id: str = Field(
        description="Names this request; a failover that answers it repeats it.", min_length=1, max_length=64
    )
    to: str | None = Field(None, description="Director that should become active; any other when left out.")
    reason: str = Field(description="Why, for people who look later.", max_length=256)
    let_go_first: bool | None = Field(
        None,
        description="The active director lets go before another one takes over, as in a drill that measures how long"
        " the addresses are silent then; without, nobody is ever without a director.",
    )
    requested: str | None = Field(None, description="When.", json_schema_extra={"format": "date-time"})


class Failover(ApiModel):
    """How the addresses came to the active director."""

    time: str | None = Field(None, description="When it became active.", json_schema_extra={"format": "date-time"})
    node: str = Field(description="Director that became active.")
    before: str | None = Field(None, description="Director that was active before, when known.")
    reason: str = Field(description="One word: Requested, DirectorLost, DirectorYielded, Preempted or First.")
    message: str = Field(description="The same in a sentence; of a requested one, the reason that was given.")
    silent: str | None = Field(
        None, description="From the last sign of life of the director before to the addresses being held here."
    )
    request: str | None = Field(None, description="Id of the request that this answers.")


def by_node(description: str) -> Any:
    """Return the field of a list with one entry for each node."""
    return Field(
        default=[],
        description=description,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["node"]},
    )
