"""The agent's composition root: builds the parts, joins them, runs them until told to stop.

Stopping leaves the kernel as it is: connections go on, and the next agent adopts what is there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time

from virtualserver.agent.answers import Answers
from virtualserver.agent.claims import Claims
from virtualserver.agent.following import Hands
from virtualserver.agent.groupreports import GroupReports
from virtualserver.agent.groups import GroupStatuses
from virtualserver.agent.lacking import Lacking
from virtualserver.agent.loop import Loop
from virtualserver.agent.metrics import Metrics
from virtualserver.agent.mirror import Mirror
from virtualserver.agent.peers import HttpPeers
from virtualserver.agent.preflight import Preflight
from virtualserver.agent.programmer import Programmer
from virtualserver.agent.record import Record, RecordError
from virtualserver.agent.reporter import ClusterReporter
from virtualserver.agent.settings import Settings, SettingsError, settings
from virtualserver.agent.source import StoredSource
from virtualserver.agent.standing import Standings
from virtualserver.agent.steadiness import Steadiness
from virtualserver.agent.takeovers import Takeovers
from virtualserver.agent.terms import Terms
from virtualserver.cluster.client import Api
from virtualserver.cluster.events import EventWriter
from virtualserver.cluster.managed import agent_manager
from virtualserver.cluster.resources import DIRECTOR_GROUPS, VIRTUAL_SERVERS, WATCHED
from virtualserver.cluster.status import StatusWriter, utc_now
from virtualserver.cluster.watch import Fanout, Reflector
from virtualserver.health import probe, serve
from virtualserver.kernel import connections, usage
from virtualserver.kernel.injection import inject
from virtualserver.kernel.look import Looker
from virtualserver.kernel.netlink import Netlink
from virtualserver.kernel.ownership import Ownership
from virtualserver.kernel.tick import Tick
from virtualserver.model.monitoring import Result, Target
from virtualserver.monitors.runner import Runner
from virtualserver.monitors.table import MONITORS
from virtualserver.plan.mirroring import TICK
from virtualserver.telemetry import set_up_logging

log = logging.getLogger(__name__)

ALIVE = 60.0
"""Seconds without a finished round after which the agent calls itself ill; a round takes milliseconds."""


def main() -> int:
    """Run an agent until SIGTERM or SIGINT; returns the exit code."""
    set_up_logging()
    try:
        asyncio.run(_run(settings(os.environ)))
    except (SettingsError, RecordError) as error:
        print(f"virtualserver agent: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(chosen: Settings) -> None:
    record = Record(chosen.state_dir / "record.json")
    kernel = Netlink(proc_sys=chosen.proc_sys, run_dir=chosen.run_dir)
    api = Api()
    statuses = StatusWriter(api, VIRTUAL_SERVERS, agent_manager(chosen.node))
    groups = GroupStatuses(api, chosen.node)
    events = EventWriter(api, "agent", chosen.node)
    reflectors: list[Reflector] = []
    source = StoredSource(chosen.state_dir / "wanted.json", lambda: all(one.synced.is_set() for one in reflectors))

    def take(target: Target, result: Result) -> None:
        loop.take(target, result)

    monitors = Runner(MONITORS, take)
    programmer = Programmer(kernel, record, time.monotonic)
    reporter = ClusterReporter(statuses, groups, events)
    ownership = Ownership(lambda: loop.wake(), lambda router: loop.routers.get(router))
    terms = Terms(kernel, record, ownership.taken, time.monotonic)
    peers = HttpPeers(chosen.health_port)
    hands = Hands(connections.lines, inject)
    mirror = Mirror(chosen.node, peers, hands, ownership, lambda: loop.view(), lambda: loop.wake(), time.monotonic)
    lacking = Lacking(chosen.node, time.monotonic)
    takeovers = Takeovers(chosen.node, ownership, utc_now, time.monotonic)
    claims = Claims(chosen.node, ownership, time.monotonic)
    standings = Standings(terms, Steadiness(), mirror, lacking, claims, ownership.silence, time.monotonic)
    reports = GroupReports(chosen.node, takeovers, claims, mirror, lacking, reporter.group)
    loop = Loop(chosen.node, source, programmer, standings, reports, reporter, monitors.set_targets, time.monotonic)
    tick = Tick(lambda: (view := loop.view()) is not None and TICK in view.plan.state.services)
    preflight = Preflight(Looker(chosen.proc_sys), loop.scene, loop.take_faults, time.monotonic)
    writers = {VIRTUAL_SERVERS: statuses, DIRECTOR_GROUPS: groups.writer}
    listeners = {one: Fanout(source.live, writers[one]) if one in writers else source.live for one in WATCHED}
    reflectors += [Reflector(api, one, listener, on_change=loop.wake) for one, listener in listeners.items()]

    def ill() -> str:
        silent = time.monotonic() - loop.last_round if loop.last_round is not None else 0.0
        return f"no round for {silent:.0f} s" if silent > ALIVE else ""

    ownership.start()
    log.info("agent starts", extra={"node": chosen.node, "owned_services": len(record.owned.services)})
    metrics = Metrics(loop.view, lambda: mirror.figures, takeovers.counts)
    answers = Answers(chosen.node, loop.view, connections.lines, usage.held, metrics.text)
    handlers = {"/readyz": probe(lambda: ill() or loop.unready), **answers.handlers}
    async with serve(chosen.health_address, chosen.health_port, ill, handlers), asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.run()) for one in reflectors]
        tasks += [
            group.create_task(one)
            for one in (loop.run(), mirror.run(), preflight.run(), tick.run(), events.run(), source.keep_saved())
        ]
        await _told_to_stop()
        for task in tasks:
            task.cancel()
        ownership.close()
        await monitors.close()
        await asyncio.gather(statuses.close(flush=1.0), groups.close(flush=1.0))
        await peers.close()
        await api.close()
    log.info("agent stops; the kernel stays as it is", extra={"node": chosen.node})


async def _told_to_stop() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
