"""What an agent is told by its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class SettingsError(Exception):
    """A setting is missing or cannot be used; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of an agent."""

    node: str
    """NODE_NAME: the name of the Node object that this agent acts for."""
    state_dir: Path
    """STATE_DIR: where the node's record and the last known wanted state are kept."""
    health_address: str
    """HEALTH_ADDRESS: where /healthz is served, and what other directors ask for; they must reach it."""
    health_port: int
    """HEALTH_PORT: the same on all nodes; 0 serves nothing."""
    proc_sys: Path
    """PROC_SYS: the kernel's settings; elsewhere when a container has its own read-only view."""
    run_dir: Path
    """RUN_DIR: shared with keepalived and its supervisor."""


def settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings; raises SettingsError."""
    node = environment.get("NODE_NAME", "")
    if not node:
        raise SettingsError("NODE_NAME is not set; it must be the name of this machine's Node object")
    port = environment.get("HEALTH_PORT", "9440")
    if not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"HEALTH_PORT is {port!r}; it must be a port number, or 0 for none")
    return Settings(
        node=node,
        state_dir=Path(environment.get("STATE_DIR", "/var/lib/virtualserver")),
        health_address=environment.get("HEALTH_ADDRESS", "0.0.0.0"),
        health_port=int(port),
        proc_sys=Path(environment.get("PROC_SYS", "/proc/sys")),
        run_dir=Path(environment.get("RUN_DIR", "/run/virtualserver")),
    )
