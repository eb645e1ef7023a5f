"""What the controller is told by its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the controller."""

    health_address: str
    """HEALTH_ADDRESS: where /healthz is served."""
    health_port: int
    """HEALTH_PORT: 0 serves none."""
    agent_port: int
    """AGENT_PORT: where agents serve their /healthz."""


def settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings; raises ValueError that names the one that cannot be used."""
    ports = {}
    for name, default in (("HEALTH_PORT", "8081"), ("AGENT_PORT", "9440")):
        text = environment.get(name, default)
        if not text.isdigit() or int(text) > 65535:
            raise ValueError(f"{name} is {text!r}; it must be a port number")
        ports[name] = int(text)
    return Settings(environment.get("HEALTH_ADDRESS", "0.0.0.0"), ports["HEALTH_PORT"], ports["AGENT_PORT"])
