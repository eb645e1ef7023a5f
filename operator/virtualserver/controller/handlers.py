"""kopf's part: it watches, we take note. ``on.event`` handlers write nothing to anybody's object."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import kopf

from virtualserver.cluster.credentials import load_configuration
from virtualserver.cluster.resources import WATCHED, Resource
from virtualserver.plan.world import Json

Take = Callable[[Resource, str | None, Json], None]


class _Patiently:
    """Waits of 0.2 s to 1 s without end: an outage of the API server must not end kopf, nor delay its return."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.2, 0.5)
        while True:
            yield 1.0


def registry(take: Take) -> kopf.OperatorRegistry:
    """Return kopf's registry with one handler for each kind that decisions look at."""
    made = kopf.OperatorRegistry()
    kopf.on.login(registry=made)(_login)
    for resource in WATCHED:
        _watch(made, resource, take)
    return made


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings: no events of its own, no peering, no look at namespaces and definitions."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.peering.standalone = True
    made.scanning.disabled = True
    made.execution.default_backoff = 5.0  # of a login that failed
    made.process.ultimate_exiting_timeout = None  # else kopf kills our process ten minutes after it failed
    made.watching.server_timeout = 290
    made.watching.connect_timeout = 3.0
    made.networking.connect_timeout = 3.0
    made.networking.request_timeout = 30.0
    made.networking.error_backoffs = _Patiently()
    return made


def quiet() -> None:
    """Keep kopf's logs to what is news: a line for every handled event and every retry would bury the rest.

    An API server that is away is told by ``Gate``, once.
    """
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    logging.getLogger("kopf._cogs.clients").setLevel(logging.CRITICAL)


async def _login(**_: Any) -> kopf.ConnectionInfo:
    """Use the credentials that our own client uses."""
    found = await load_configuration()
    header = await found.get_api_key_with_prefix("BearerToken") or ""
    scheme, _space, token = header.strip().partition(" ")
    return kopf.ConnectionInfo(
        server=found.host,
        ca_path=found.ssl_ca_cert,
        insecure=not found.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=found.cert_file,
        private_key_path=found.key_file,
        proxy_url=found.proxy,
    )


def _watch(made: kopf.OperatorRegistry, resource: Resource, take: Take) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=made, id=resource.plural)
    async def note(event: kopf.RawEvent, **_: Any) -> None:
        take(resource, event["type"], event["object"])
