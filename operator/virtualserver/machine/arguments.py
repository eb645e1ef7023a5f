"""The words of ``virtualserver real-server``. Every command of the program reads them, so they load next to nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

from virtualserver.api.enums import ForwardingMode, TunnelType

STATE_DIR = Path("/var/lib/virtualserver/real-server")
MODES = [str(mode) for mode in ForwardingMode if mode is not ForwardingMode.NAT]
SUMMARY = "make this machine, outside the cluster, a real server of Tunnel or Direct Routing"
_APPLY = "set the machine up; says what it did, and nothing twice. Several addresses add up"
_KEEP = "take packets as before too, until applied without this: connections go on when forwarding.mode changes"
_REMOVE = "take away what apply made, and put settings back as they were"
_CHECK = "look whether all is as it should be; changes nothing. Exit code 1 when something is missing"
_SCRIPT = "print a shell script that does the same on a machine without Python"
_UNIT = "print a systemd unit that does it at every start"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands with their options."""
    parser.description = _sentence(SUMMARY)
    parser.epilog = "Exit codes: 0 all is well, 1 something is missing or was refused, 2 an option cannot be used."
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    apply = verbs.add_parser("apply", help=_APPLY, description=_sentence(_APPLY))
    _wanted(apply)
    apply.add_argument("--keep", action="store_true", help=_KEEP)
    apply.add_argument("--print-script", action="store_true", help="change nothing, print the script instead")
    remove = verbs.add_parser("remove", help=_REMOVE, description=_sentence(_REMOVE))
    remove.add_argument("--address", action="append", default=[], metavar="IP", help="only this one (default: all)")
    verbs.add_parser("check", help=_CHECK, description=_sentence(_CHECK))
    _wanted(verbs.add_parser("script", help=_SCRIPT, description=_sentence(_SCRIPT)))
    unit = verbs.add_parser("unit", help=_UNIT, description=_sentence(_UNIT))
    _wanted(unit)
    unit.add_argument("--script", type=Path, metavar="FILE", help="call this script instead of the command")
    for one in verbs.choices.values():
        one.add_argument("--state-dir", type=Path, default=STATE_DIR, metavar="DIR", help="default: %(default)s")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _wanted(parser: argparse.ArgumentParser) -> None:
    add_argument = parser.add_argument
    add_argument("--address", action="append", required=True, metavar="IP", help="virtual address; may be given again")
    add_argument("--mode", choices=MODES, required=True, help="forwarding.mode of the virtual server")
    add_argument("--director", action="append", default=[], metavar="IP", help="sends packets here; give all of them")
    add_argument("--tunnel", choices=[str(kind) for kind in TunnelType], help="forwarding.tunnel.type (default: IPIP)")
    add_argument("--port", type=int, metavar="PORT", help="forwarding.tunnel.port, the UDP port of GUE (default: 6080)")
    add_argument("--checksum", action="store_true", help="forwarding.tunnel.checksum is set")
    add_argument(
        "--local",
        action="append",
        default=[],
        metavar="IP",
        help="address of the machine to which directors send; may be given again (default: as the routes to them say)",
    )
    add_argument("--mtu", type=int, metavar="BYTES", help="of the way to the directors (default: of the route's link)")
