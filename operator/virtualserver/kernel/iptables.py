"""Runs iptables' programs for our rules: finds the ones that work on this kernel, reads, replaces."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from virtualserver.kernel.port import KernelError
from virtualserver.kernel.refusals import RefusedError, check_rules
from virtualserver.kernel.rules import CHAINS, Chain, Installed, parse_dump, read_rules, render
from virtualserver.model.types import Rules

_PROGRAMS = {4: "iptables", 6: "ip6tables"}
_BACKENDS = ("nft", "legacy")
"""Tried in this order: ``nft`` is what current distributions use; kernels without its tables have ``legacy``."""
_LOCK_SECONDS = 5
_TIMEOUT = 15.0
_EXIT_LOCKED = 4


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended."""

    code: int
    output: str
    errors: str


Runner = Callable[[list[str], str], Finished]
"""Runs a command with text on its standard input; raises FileNotFoundError when the program is missing."""

_Tables = dict[int, dict[Chain, Installed]]


def run(command: list[str], text: str) -> Finished:
    """Run a program for at most 15 s; running out of time counts as a failure of its own."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return Finished(_EXIT_LOCKED, "", f"no answer within {_TIMEOUT:.0f} s")
    return Finished(done.returncode, done.stdout, done.stderr)


class Iptables:
    """Our rules in the kernel. Reading costs two processes and never loads a module; not for several threads at once.

    Which programs to use is known once our chains are found or have been written: a dump alone does not tell, for
    ``iptables-nft`` shows empty tables on a kernel that cannot hold them.
    """

    def __init__(self, runner: Runner = run) -> None:
        self._run = runner
        self._backend: str | None = None

    def read(self) -> Rules:
        """Return our rules as installed. Raises KernelError when no iptables works."""
        tables = self._find()
        return read_rules(tables)

    def replace(self, rules: Rules) -> None:
        """Make the installed rules these, chains and jumps included; nothing of ours stays for no rules.

        Raises RefusedError; a table is replaced whole or not at all, but one table may be done and the next not.
        """
        check_rules(rules)
        try:
            tables = self._find()
        except KernelError as error:
            raise RefusedError(errno.EOPNOTSUPP, str(error)) from error
        if self._backend is not None:
            self._restore(self._backend, rules, tables)
            return
        if rules == Rules():
            return
        failure: RefusedError | None = None
        for backend in _BACKENDS:
            try:
                self._restore(backend, rules, tables)
            except RefusedError as refused:
                failure = failure or refused
            else:
                self._backend = backend
                return
        raise failure or RefusedError(errno.EOPNOTSUPP)

    def _find(self) -> _Tables:
        """Return the tables of the known backend, else of the one that holds our chains, else empty ones."""
        if self._backend is not None:
            tables = self._save(self._backend)
            if isinstance(tables, str):
                raise KernelError(f"cannot read packet-filter rules: {tables}")
            return tables
        complaints: list[str] = []
        for backend in _BACKENDS:
            tables = self._save(backend)
            if isinstance(tables, str):
                complaints.append(tables)
            elif any(_trace(installed) for family in tables.values() for installed in family.values()):
                self._backend = backend
                return tables
        if len(complaints) == len(_BACKENDS):
            raise KernelError(f"no iptables works here: {'; '.join(complaints)}")
        return {version: {chain: Installed() for chain in CHAINS} for version in _PROGRAMS}

    def _save(self, backend: str) -> _Tables | str:
        """Return our chains per IP version, or why they cannot be read."""
        tables: _Tables = {}
        for version, program in _PROGRAMS.items():
            command = f"{program}-{backend}-save"
            try:
                done = self._run([command], "")
            except FileNotFoundError:
                return f"{command} is not installed"
            if done.code:
                return f"{command}: {_complaint(done)}"
            tables[version] = parse_dump(done.output)
        return tables

    def _restore(self, backend: str, rules: Rules, tables: Mapping[int, Mapping[Chain, Installed]]) -> None:
        for version, program in _PROGRAMS.items():
            text = render(rules, version, tables[version])
            if not text:
                continue
            command = [f"{program}-{backend}-restore", "--noflush", "-w", str(_LOCK_SECONDS)]
            try:
                done = self._run(command, text)
            except FileNotFoundError:
                raise RefusedError(errno.ENOENT, f"{command[0]} is not installed") from None
            if done.code:
                number = errno.EBUSY if done.code == _EXIT_LOCKED else errno.EIO
                raise RefusedError(number, f"{command[0]}: {_complaint(done)}")


def _trace(installed: Installed) -> bool:
    return installed.present or bool(installed.jumps)


def _complaint(done: Finished) -> str:
    """Return the first line that a program wrote about its failure; hints on usage follow it."""
    lines = done.errors.strip().splitlines()
    return lines[0] if lines else f"exit code {done.code}"
