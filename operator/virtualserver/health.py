"""``/healthz`` and the like for probes: 200 while all is well, 503 with the reason otherwise."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def probe(wrong: Callable[[], str]) -> Handler:
    """Return what answers a probe; ``wrong`` returns "" or what is wrong."""

    async def answer(_request: web.Request) -> web.Response:
        said = wrong()
        return web.Response(text=said or "ok", status=503 if said else 200)

    return answer


@asynccontextmanager
async def serve(
    address: str, port: int, ill: Callable[[], str], more: Mapping[str, Handler] | None = None
) -> AsyncIterator[None]:
    """Answer on ``address``:``port`` (0: not at all) while the context lasts; ``ill`` returns "" or what is wrong.

    ``more`` is what else is answered there, by path.

    A port that is taken is logged, not fatal: the work goes on, and the probe will say so.
    """

    if not port:
        yield
        return
    app = web.Application()
    for path, handler in {"/healthz": probe(ill), **(more or {})}.items():
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
    except OSError as error:
        log.error("health is not served", extra={"address": address, "port": port, "error": str(error)})
    try:
        yield
    finally:
        await runner.cleanup()
