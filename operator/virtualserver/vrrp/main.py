"""``virtualserver keepalived``: run keepalived beside an agent, both with the same RUN_DIR."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from pathlib import Path

from virtualserver.kernel.rundir import RunDir
from virtualserver.telemetry import set_up_logging
from virtualserver.vrrp.process import adopt_orphans
from virtualserver.vrrp.supervisor import Supervisor

log = logging.getLogger(__name__)


def main() -> int:
    """Supervise until SIGTERM or SIGINT; returns the exit code."""
    set_up_logging()
    run_dir = RunDir(Path(os.environ.get("RUN_DIR", "/run/virtualserver")))
    try:
        run_dir.path.mkdir(parents=True, exist_ok=True)
        with (run_dir.path / "supervisor.lock").open("wb") as alone:
            fcntl.flock(alone, fcntl.LOCK_EX)  # an update may start the next one before this one is gone
            adopt_orphans()
            log.info("supervisor of keepalived starts", extra={"run_dir": str(run_dir.path)})
            Supervisor(run_dir).run()
    except OSError as error:
        print(f"virtualserver keepalived: {error}", file=sys.stderr)
        return 1
    log.info("supervisor of keepalived stops; nothing of it is left on this node")
    return 0
