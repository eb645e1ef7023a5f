"""What a machine was told, on disk beside the record of what it made; by virtual address.

{"version": 1, "addresses": {"198.18.0.100": {"forwarding": {"mode": "Tunnel", "tunnel": {"type": "GUE", ...}},
 "directors": ["198.18.0.11"], "local": ["198.18.0.21"], "mtu": 1500}}}
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from virtualserver.agent.record import RecordError, write_json
from virtualserver.api.virtualserver import Forwarding
from virtualserver.model.types import IPAddress, address_order
from virtualserver.plan.machine import Entries, Entry

NAME, RECORD = "addresses.json", "record.json"


def load(folder: Path) -> dict[IPAddress, Entry]:
    """Return what was asked for so far; raises RecordError."""
    path = folder / NAME
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["version"] != 1:
            raise RecordError(f"{path} has version {value['version']}; this program reads version 1")
        return {ip_address(address): _entry(one) for address, one in value["addresses"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ValidationError) as error:
        raise RecordError(f"cannot read {path}: {type(error).__name__} {error}") from error


def save(folder: Path, entries: Entries) -> None:
    """Replace what was asked for; no file stays for nothing. Raises RecordError."""
    path = folder / NAME
    if entries:
        write_json(path, dump(entries))
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(f"cannot remove {path}: {error.strerror}") from error


def dump(entries: Entries) -> dict[str, Any]:
    """Return entries as they stand in the file."""
    return {
        "version": 1,
        "addresses": {str(address): _wire(entries[address]) for address in sorted(entries, key=address_order)},
    }


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one command at a time change the machine; the second waits. Raises RecordError."""
    path = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _wire(entry: Entry) -> dict[str, Any]:
    before = {} if entry.before is None else {"before": _wire(entry.before)}
    return before | {
        "forwarding": entry.forwarding.wire(),
        "directors": [str(one) for one in sorted(entry.directors, key=address_order)],
        "local": [str(one) for one in sorted(entry.local, key=address_order)],
        "mtu": entry.mtu,
    }


def _entry(value: dict[str, Any]) -> Entry:
    return Entry(
        Forwarding.model_validate(value["forwarding"]),
        frozenset(map(ip_address, value["directors"])),
        frozenset(map(ip_address, value["local"])),
        int(value["mtu"]),
        _entry(value["before"]) if "before" in value else None,
    )
