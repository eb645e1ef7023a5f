"""What a director group's status says, as far as decisions look at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from virtualserver.api.enums import GroupRole
from virtualserver.api.reasons import Reason
from virtualserver.plan.world import Json


@dataclass(frozen=True, slots=True)
class Director:
    """What one director says of itself. Words stay text: those of a newer agent are shown as they are."""

    node: str
    role: str
    reason: str = ""
    message: str = ""
    priority: int = 0
    mirror: str | None = None
    caught_up: str | None = None
    lacking: int = 0
    mirror_message: str = ""
    mirror_figures: str = ""
    """How much of what is mirrored is there, in steps that stay the same while all is well."""

    @property
    def why(self) -> str:
        """The director, its role and why, in one line."""
        return f"{self.node} is {self.role} ({self.reason}: {self.message})"


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """A group's status without the controller's own part."""

    active: str | None = None
    directors: tuple[Director, ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    """How the active director became it: names and values of ``lastFailover``."""
    request: str | None = None
    """Id of the failover that somebody asked for."""

    def having(self, role: GroupRole) -> list[Director]:
        """Return the directors with a role, the most preferred first."""
        found = [one for one in self.directors if one.role == role]
        return sorted(found, key=lambda one: (-one.priority, one.node))


def group_seen(status: Json, silent: Iterable[str] = ()) -> GroupSeen:
    """Read a group's status; a director whose agent is ``silent`` is Unknown, whatever it said last."""
    quiet = frozenset(silent)
    listed = [_director(entry, quiet) for entry in status.get("directors") or []]
    told = {name: str(part) for name, part in (status.get("lastFailover") or {}).items()}
    asked = (status.get("failoverRequest") or {}).get("id")
    return GroupSeen(status.get("activeDirector"), tuple(listed), tuple(sorted(told.items())), asked)


def silent_director(node: str) -> Director:
    """Return what is said in the place of a director whose agent does not answer."""
    text = f"the agent on {node} does not answer; what it said before is old"
    return Director(node, GroupRole.UNKNOWN, Reason.DIRECTOR_UNREACHABLE, text)


def _director(entry: Json, quiet: frozenset[str]) -> Director:
    node = entry.get("node", "")
    said = Director(
        node,
        entry.get("role", ""),
        entry.get("reason", ""),
        entry.get("message", ""),
        entry.get("priority") or 0,
        (entry.get("mirror") or {}).get("state"),
        entry.get("caughtUp"),
        entry.get("lacking") or 0,
        (entry.get("mirror") or {}).get("message") or "",
        _figures(entry.get("mirror") or {}),
    )
    if node not in quiet:
        return said
    silent = silent_director(node)
    return replace(said, role=silent.role, reason=silent.reason, message=silent.message)


def _figures(mirror: Json) -> str:
    told = [f"{name} {mirror[name]}" for name in ("share", "lag") if mirror.get(name)]
    return f" ({', '.join(told)})" if told else ""
