"""A systemd unit that makes the machine a real server at every start, and takes it back when it is stopped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from virtualserver.model.types import address_order
from virtualserver.plan.machine import Entries

_UNIT = """\
[Unit]
Description=Real server of {addresses}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={start}
ExecStop={stop}

[Install]
WantedBy=multi-user.target
"""


def calling_script(entries: Entries, path: Path) -> str:
    """Return a unit that runs a printed script."""
    words = ["/bin/sh", str(path.absolute())]
    return _unit(entries, [*words, "apply"], [*words, "remove"])


def calling_command(entries: Entries, given: argparse.Namespace) -> str:
    """Return a unit that calls the command as it was called now, with the same options."""
    state = ["--state-dir", str(given.state_dir.absolute())]
    virtual = [word for address in _texts(entries) for word in ("--address", address)]
    apply = [*virtual, "--mode", given.mode]
    for option, values in (("--director", given.director), ("--local", given.local)):
        apply += [word for value in values for word in (option, value)]
    for option, value in (("--tunnel", given.tunnel), ("--port", given.port), ("--mtu", given.mtu)):
        apply += [option, str(value)] if value is not None else []
    apply += ["--checksum"] if given.checksum else []
    command = [*_program(), "real-server"]
    return _unit(entries, [*command, "apply", *apply, *state], [*command, "remove", *virtual, *state])


def _unit(entries: Entries, start: Iterable[str], stop: Iterable[str]) -> str:
    return _UNIT.format(addresses=", ".join(_texts(entries)), start=_line(start), stop=_line(stop))


def _texts(entries: Entries) -> list[str]:
    return [str(address) for address in sorted(entries, key=address_order)]


def _program() -> list[str]:
    """Return how this program was called; systemd wants a whole path."""
    called = Path(sys.argv[0])
    return [str(called.absolute())] if called.name == "virtualserver" else [sys.executable, "-m", "virtualserver"]


def _line(words: Iterable[str]) -> str:
    return " ".join(map(_word, words))


def _word(word: str) -> str:
    """Quote a word as ``systemd.syntax(7)`` and ``systemd.service(5)`` want it."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if any(char in text for char in " \t'\"\\;") else text
