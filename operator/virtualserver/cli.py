"""The one program: ``virtualserver COMMAND``; ``virtualserver --help`` lists the commands.

Settings of the first three come from the environment.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from virtualserver import __version__
from virtualserver.failover import arguments as failover
from virtualserver.machine import arguments as machine


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="virtualserver", description="Virtual servers for Kubernetes on Linux IPVS")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("controller", help="check virtual servers and director groups, write status (one per cluster)")
    commands.add_parser("agent", help="program this node's kernel and run the monitors (one per director)")
    commands.add_parser("keepalived", help="run keepalived beside the agent (one per director)")
    commands.add_parser("clean-up", help="remove everything of ours from this node's kernel; stop the agent first")
    machine.add(commands.add_parser("real-server", help=machine.SUMMARY))
    failover.add_failover(commands.add_parser("failover", help=failover.FAILOVER))
    failover.add_drill(commands.add_parser("drill", help=failover.DRILL))
    crds = commands.add_parser("crds", help="write the custom resource definitions")
    crds.add_argument("folders", type=Path, nargs="+", help="where the YAML files go")
    chosen = parser.parse_args(arguments)
    # Imports stay with their command: an agent that loads kopf costs every node 30 MB.
    if chosen.command == "controller":
        from virtualserver.controller.main import main as controller

        return controller()
    if chosen.command == "agent":
        from virtualserver.agent.main import main as agent

        return agent()
    if chosen.command == "keepalived":
        from virtualserver.vrrp.main import main as keepalived

        return keepalived()
    if chosen.command == "clean-up":
        from virtualserver.agent.cleanup import main as clean_up

        return clean_up()
    if chosen.command == "real-server":
        from virtualserver.machine.command import main as real_server

        return real_server(chosen)
    if chosen.command in ("failover", "drill"):
        from virtualserver.failover.command import main as planned

        return planned(chosen)
    from virtualserver.api.crds import main as crds_main

    return crds_main([str(folder) for folder in chosen.folders])


if __name__ == "__main__":
    sys.exit(main())
