"""kopf's part: it watches, we take note. ``on.event`` handlers write nothing to anybody's object."""

from __future__ import annotations

from typing import Any

import kopf

from virtualserver.cluster.resources import WATCHED, Resource
from virtualserver.controller.feed import Feed


def registry(feed: Feed) -> kopf.OperatorRegistry:
    """Return kopf's registry with one handler for each kind that decisions look at."""
    made = kopf.OperatorRegistry()
    kopf.on.login(registry=made)(_login)
    for resource in WATCHED:
        _watch(made, resource, feed)
    return made


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings: no events of its own, no peering, no look at namespaces and definitions."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.peering.standalone = True
    made.scanning.disabled = True
    made.watching.reconnect_backoff = 0.5
    made.networking.error_backoffs = [0.2, 0.5, 1, 2, 2, 2]
    return made


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_kubeconfig(**kwargs) or kopf.login_with_service_account(**kwargs)


def _watch(made: kopf.OperatorRegistry, resource: Resource, feed: Feed) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=made, id=resource.plural)
    async def note(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 - kopf's name
        feed.take(resource, type, dict(body))
