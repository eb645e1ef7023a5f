"""``virtualserver real-server``: brings this machine to what it was told, by the agent's own programmer and record."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from virtualserver.agent.programmer import Programmer, Round
from virtualserver.agent.record import Record, RecordError
from virtualserver.kernel.modules import absent
from virtualserver.kernel.netlink import Netlink
from virtualserver.kernel.port import Kernel, KernelError
from virtualserver.kernel.refusals import describe
from virtualserver.kernel.ways import way
from virtualserver.machine import options, store
from virtualserver.machine.options import OptionError
from virtualserver.machine.script import script
from virtualserver.machine.unit import calling_command, calling_script
from virtualserver.model.types import IPAddress, address_order
from virtualserver.plan import machine, settings
from virtualserver.plan.desired import Circumstances
from virtualserver.plan.diff import diff
from virtualserver.plan.machine import Entries, Entry
from virtualserver.plan.readback import BESIDE, looks, modules

NAME = "virtualserver real-server"


def main(given: argparse.Namespace) -> int:
    """Run one of the commands; returns the exit code."""
    logging.getLogger("virtualserver").addHandler(logging.NullHandler())  # what matters is printed below
    verbs: dict[str, Callable[[argparse.Namespace], int]] = {
        "apply": _print_script if getattr(given, "print_script", False) else _apply,
        "remove": _remove,
        "check": _check,
        "script": _print_script,
        "unit": _print_unit,
    }
    try:
        return verbs[given.verb](given)
    except OptionError as error:
        print(f"{NAME} {given.verb}: {error}", file=sys.stderr)
        return 2
    except (RecordError, KernelError) as error:
        print(f"{NAME} {given.verb}: {error}", file=sys.stderr)
        return 1


def _apply(given: argparse.Namespace) -> int:
    asked = options.entries(given, way)
    kernel = Netlink(services=False)
    here = {one.address for one in kernel.read().addresses}
    for address in options.addresses("--local", given.local) - here:
        raise OptionError(f"--local {address}: this machine does not have it")
    for address in options.addresses("--director", given.director) & here:
        raise OptionError(f"--director {address}: is this machine itself")
    with store.alone(given.state_dir):
        before = store.load(given.state_dir)
        if given.keep:
            asked = {address: entry.keeping(before.get(address)) for address, entry in asked.items()}
        entries = _together(before, asked)
        if entries != before:
            store.save(given.state_dir, entries)
        done = _bring(kernel, given.state_dir, entries)
    return _say(done, ", ".join(map(str, sorted(asked, key=address_order))))


def _together(before: Entries, asked: Entries) -> dict[IPAddress, Entry]:
    entries = {**before, **asked}
    for entry in asked.values():
        for address in entry.local & entries.keys():
            raise OptionError(f"--local {address}: is a virtual address of this machine")
        for address in entry.directors & entries.keys():
            raise OptionError(f"--director {address}: is a virtual address of this machine")
    if problem := machine.clash(entries):
        raise OptionError(f"--checksum: {problem}")
    return entries


def _remove(given: argparse.Namespace) -> int:
    leaving = options.addresses("--address", given.address)
    if not given.state_dir.exists():
        print("nothing to do: nothing was set up here")
        return 0
    with store.alone(given.state_dir):
        before = store.load(given.state_dir)
        staying = {address: entry for address, entry in before.items() if leaving and address not in leaving}
        if staying != before:
            store.save(given.state_dir, staying)
        done = _bring(Netlink(services=False), given.state_dir, staying)
    return _say(done, ", ".join(map(str, sorted(leaving, key=address_order))) or "everything", "removed")


def _bring(kernel: Kernel, folder: Path, entries: Entries) -> Round:
    programmer = Programmer(kernel, Record(folder / store.RECORD), time.monotonic)
    return programmer.round(lambda _, circumstances: machine.plan(entries, circumstances), machine.names, complete=True)


def _say(done: Round, about: str, became: str = "set up") -> int:
    complaints = [outcome.message for outcome in done.outcomes if not outcome.ok]
    for outcome in done.outcomes:
        if outcome.ok:
            print(describe(outcome.operation))
    known = set(complaints)
    complaints += [f"{owner}: {one.message}" for owner, one in done.problems.items() if one.message not in known]
    for text in dict.fromkeys(complaints):
        print(f"failed: {text}", file=sys.stderr)
    if complaints:
        return 1
    print(f"{about}: {became}" if done.applied else f"nothing to do: {about} {_is(about)} {became} already")
    return 0


def _is(about: str) -> str:
    return "are" if ", " in about else "is"


def _check(given: argparse.Namespace) -> int:
    entries = store.load(given.state_dir)
    owned = Record(given.state_dir / store.RECORD).owned
    kernel = Netlink(services=False)
    names = machine.names(kernel.read())
    found = kernel.read((*names, *BESIDE, *owned.sysctls), rules=True)
    circumstances = Circumstances(uplinks=settings.uplinks(found))
    everything = machine.plan(entries, circumstances).state
    without = absent(modules(everything))
    wrong = 0
    for address in sorted(entries, key=address_order):
        print(f"{address} ({entries[address]})")
        wanted = machine.plan({address: entries[address]}, circumstances).state
        for look in looks(wanted, found, without):
            wrong += bool(look.problem)
            print(f"  {'wrong' if look.problem else 'ok':5}  {look.thing}{look.problem and ': '}{look.problem}")
    if not entries:
        print("no virtual address was set up here")
    if not wrong:
        left = diff(everything, found, owned, complete=True)
        wrong = len(left)
        for operation in left:
            print(f"wrong: still to do: {describe(operation)}")
    return 1 if wrong else 0


def _print_script(given: argparse.Namespace) -> int:
    if getattr(given, "keep", False):
        raise OptionError("--keep: a script cannot know what was applied before it")
    asked = options.entries(given, way)
    print(script(asked, given.state_dir), end="")
    return 0


def _print_unit(given: argparse.Namespace) -> int:
    asked = options.entries(given, way)
    text = calling_script(asked, given.script) if given.script else calling_command(asked, given)
    print(text, end="")
    return 0
