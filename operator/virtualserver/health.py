"""``/healthz`` for liveness probes: 200 while all is well, 503 with the reason otherwise."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

log = logging.getLogger(__name__)


@asynccontextmanager
async def serve(address: str, port: int, ill: Callable[[], str]) -> AsyncIterator[None]:
    """Answer on ``address``:``port`` (0: not at all) while the context lasts; ``ill`` returns "" or what is wrong.

    A port that is taken is logged, not fatal: the work goes on, and the probe will say so.
    """

    async def answer(_request: web.Request) -> web.Response:
        wrong = ill()
        return web.Response(text=wrong or "ok", status=503 if wrong else 200)

    if not port:
        yield
        return
    app = web.Application()
    app.router.add_get("/healthz", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
    except OSError as error:
        log.error("health is not served", extra={"address": address, "port": port, "error": str(error)})
    try:
        yield
    finally:
        await runner.cleanup()
