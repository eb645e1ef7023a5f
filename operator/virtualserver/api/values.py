"""Single values that several kinds of objects have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from virtualserver.api import rules
from virtualserver.api.addresses import ADDRESS, MULTICAST, NETWORK
from virtualserver.api.rule import Checked, Rule, Text

PortNumber = Annotated[int, Field(ge=1, le=65535, strict=True)]
Address = Annotated[str, Text(45, *ADDRESS)]
MulticastAddress = Annotated[str, Text(45, *MULTICAST)]
Network = Annotated[str, Text(49, *NETWORK)]
ObjectName = Annotated[
    str,
    rules.text(
        r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$",
        "must be the name of an object: small letters, digits, dashes and dots",
        253,
    ),
]
NodeName = ObjectName
NOT_LOOPBACK = Rule("self != 'lo'", "must be a link with neighbours, which lo has not", lambda name: name != "lo")
# A kernel takes nearly all characters, but others mean something in packet-filter rules and configuration files.
LinkName = Annotated[
    str,
    rules.text(
        r"^[A-Za-z0-9_][-A-Za-z0-9_.]{0,14}$",
        "must be the name of a network link, such as eth0: 1 to 15 letters, digits, dashes, underscores and dots",
        15,
    ),
    Checked(NOT_LOOPBACK),
]
