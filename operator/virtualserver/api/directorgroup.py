"""``DirectorGroup``: what a platform team writes about the nodes that hold virtual addresses."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from virtualserver.api import rules
from virtualserver.api.addresses import NETWORK
from virtualserver.api.base import ApiModel
from virtualserver.api.listrules import UNIQUE_ADDRESSES
from virtualserver.api.rule import Checked, Distinct, Text
from virtualserver.api.status import Condition
from virtualserver.api.virtualserver import Address

LinkName = Annotated[
    str,
    rules.text(
        r"^[A-Za-z0-9_][!-.0-9;-~]{0,14}$",
        "must be the name of a network link, such as eth0: 1 to 15 characters, no slash, colon or space",
        15,
    ),
]
Network = Annotated[str, Text(49, *NETWORK)]
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


class DirectorGroupStatus(ApiModel):
    """What the controller decided and sees."""

    observed_generation: int | None = Field(None, description="Generation of the spec that this status is about.")
    active_director: str | None = Field(None, description="Node that holds the virtual addresses of this group.")
    directors: list[str] = Field([], description="Nodes that match the selector.")
    conditions: list[Condition] = Field(
        [],
        description="What is so, and why.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
