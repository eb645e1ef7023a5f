"""``DirectorGroup``: what a platform team writes about the nodes that hold virtual addresses."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from virtualserver.api import rules
from virtualserver.api.base import ApiModel
from virtualserver.api.failover import DirectorReport, Failover, FailoverRequest, Mirroring, Vrrp, by_node
from virtualserver.api.listrules import UNIQUE_ADDRESSES
from virtualserver.api.rule import MAP_TYPE, Checked, Distinct
from virtualserver.api.status import Condition
from virtualserver.api.values import Address, LinkName, Network

LabelValue = Annotated[
    str,
    rules.text(
        r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$",
        "must be the value of a label: at most 63 letters, digits, dashes, underscores and dots",
        63,
    ),
]


class Gateway(ApiModel):
    """Floating addresses that the active director holds, for real servers to use as their default gateway."""

    validations = (UNIQUE_ADDRESSES,)

    interface: LinkName = Field(description="Link of the directors towards the real servers.")
    addresses: list[Address] = Field(
        min_length=1,
        max_length=4,
        description="The floating gateway addresses, IPv4 and IPv6.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )


class DirectorGroupSpec(ApiModel):
    """Which nodes are directors, and where their virtual addresses go."""

    node_selector: Annotated[dict[str, LabelValue], Checked(rules.NODE_SELECTOR)] = Field(
        min_length=1,
        max_length=16,
        description="Labels that a node must have, all of them, to be a director of this group.",
    )
    interface: LinkName = Field(description="Link of the directors towards the clients; virtual addresses go there.")
    gateway: Gateway | None = Field(
        None,
        description="Floating gateway of the real servers, for NAT without source translation.",
    )
    real_server_networks: Annotated[list[Network], Distinct()] = Field(
        [],
        max_length=64,
        description="Networks in which real servers given by address must lie. Empty: no limit.",
    )
    client_networks: Annotated[list[Network], Distinct()] = Field(
        [],
        max_length=64,
        description=(
            "Networks from which clients come. Only preflight reads them: it looks for routes back to each. "
            "Empty: the networks of the virtual addresses."
        ),
    )
    tunnel_sources: Annotated[list[Address], Distinct()] = Field(
        [],
        max_length=64,
        description=(
            "Addresses of the directors from which real servers take tunnelled packets; none from anywhere else. "
            "Empty: all addresses of the directors' Node objects."
        ),
    )
    max_directors: Annotated[int, Field(ge=1, le=16, strict=True)] = Field(
        16, description="At most so many of the nodes become directors: preferred nodes first, then by name."
    )
    vrrp: Vrrp = Field(Vrrp(), description="How the directors agree which of them is active.")
    mirroring: Mirroring = Field(
        Mirroring(),
        description=(
            "How connections are mirrored to the standbys, while a virtual server with connectionMirroring exists. A "
            "kernel does so in one way, so groups that share directors must agree on all of this but the sync id."
        ),
    )


class DirectorGroupStatus(ApiModel):
    """What is seen of a group. Each part has one writer (its field manager):

    controller: observedGeneration, conditions, standbys; the active director's agent: activeDirector, lastFailover;
    each agent: its own entry of directors (the controller, while that agent does not answer);
    ``virtualserver failover``: failoverRequest.
    """

    observed_generation: int | None = Field(None, description="Generation of the spec that this status is about.")
    active_director: str | None = Field(None, description="Node that holds the virtual addresses of this group.")
    standbys: str | None = Field(None, description="Nodes that can take over, in the order of their priorities.")
    directors: list[DirectorReport] = by_node("What each director says of itself.")
    last_failover: Failover | None = Field(
        None,
        description="How the addresses came to the active director.",
        # whole, or some of its fields would still be those of the director before, and that one's to remove
        json_schema_extra={MAP_TYPE: "atomic"},
    )
    failover_request: FailoverRequest | None = Field(
        None, description="A planned failover that somebody asked for (virtualserver failover)."
    )
    conditions: list[Condition] = Field(
        [],
        description="What is so, and why.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
