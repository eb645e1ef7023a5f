"""The words of the two commands. Every command of the program reads them, so they load next to nothing."""

from __future__ import annotations

import argparse
import contextlib

FAILOVER = "make another director of a group the active one, and say how long its addresses were silent"
DRILL = "measure the failover of a live group: there and back again, several times"
LONGEST_REASON = 256
_CODES = (
    "Exit codes: 0 done, 1 could not be asked for (nothing has changed), 2 an option cannot be used, 3 asked for but "
    "not done as asked or not in time (a request that was not answered is withdrawn)."
)
_RIGHTS = "Uses the same credentials as kubectl; the ClusterRole virtualserver-operator has the rights."


def add_failover(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``virtualserver failover``."""
    _common(parser, FAILOVER)
    parser.add_argument("--to", metavar="NODE", help="the director that is to be active (default: any that is ready)")
    parser.add_argument(
        "--reason", required=True, type=_reason, metavar="TEXT", help="why; the group's status keeps it"
    )


def add_drill(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``virtualserver drill``."""
    _common(parser, DRILL)
    parser.add_argument("--times", type=_count, default=3, metavar="N", help="there and back (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="even when a director lacks connections of the other")


def _common(parser: argparse.ArgumentParser, summary: str) -> None:
    parser.description = f"{summary[0].upper()}{summary[1:]}. {_RIGHTS}"
    parser.epilog = _CODES
    parser.add_argument("group", metavar="GROUP", help="name of the DirectorGroup")
    parser.add_argument(
        "--timeout", type=_seconds, default=30.0, metavar="S", help="seconds to wait for each (default: %(default)g)"
    )


def _reason(text: str) -> str:
    if not 0 < len(text.strip()) <= LONGEST_REASON:
        raise argparse.ArgumentTypeError(f"must be 1 to {LONGEST_REASON} characters")
    return text.strip()


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) <= 3600:
            return value
    raise argparse.ArgumentTypeError(f"must be more than 0 and at most 3600, not {text!r}")


def _count(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 1 <= (value := int(text)) <= 100:
            return value
    raise argparse.ArgumentTypeError(f"must be 1 to 100, not {text!r}")
