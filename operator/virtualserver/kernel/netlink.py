"""The real kernel: assembles the adapters of this package into the two verbs of ``port.Kernel``."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from virtualserver.kernel.announce import Announcer
from virtualserver.kernel.iptables import Iptables
from virtualserver.kernel.ipvs import Ipvs, IpvsOperation
from virtualserver.kernel.links import Links
from virtualserver.kernel.refusals import FailHook, RefusedError, explain
from virtualserver.kernel.sysctls import Sysctls
from virtualserver.model.operations import (
    AddAddress,
    Operation,
    Outcome,
    RemoveAddress,
    ReplaceRules,
    WriteSysctl,
)
from virtualserver.model.types import Rules, State


class Netlink:
    """Reads and changes the network namespace it was made in. For one thread at a time, without an event loop.

    ``writes`` counts the operations that were tried since the start, refused ones included.
    """

    def __init__(
        self, *, deadline: float = 5.0, proc_sys: Path = Path("/proc/sys"), fail: FailHook | None = None
    ) -> None:
        """``deadline`` in seconds bounds each exchange with the kernel; ``fail`` injects refusals."""
        self.writes = 0
        self._fail = fail
        self._ipvs = Ipvs(deadline)
        self._links = Links(deadline, proc_sys)
        self._sysctls = Sysctls(proc_sys)
        self._iptables = Iptables()
        self._announcer = Announcer(proc_sys)

    def close(self) -> None:
        """Close the sockets; what is in the kernel stays."""
        self._ipvs.close()
        self._links.close()

    def read(self, sysctls: Sequence[str] = (), *, rules: bool = False) -> State:
        """Return the node's state as ``port.Kernel`` promises; raises KernelError, never a partial answer."""
        links, addresses = self._links.read()
        return State(
            services=self._ipvs.read(),
            addresses=addresses,
            sysctls=self._sysctls.read(sysctls),
            rules=self._iptables.read() if rules else Rules(),
            links=frozenset(links),
        )

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Apply all in their order, runs of IPVS operations as batches; return one outcome each."""
        outcomes: list[Outcome] = []
        run: list[IpvsOperation] = []
        for operation in operations:
            self.writes += 1
            pretended = self._fail(self.writes, operation) if self._fail else 0
            if not pretended and not isinstance(operation, AddAddress | RemoveAddress | WriteSysctl | ReplaceRules):
                run.append(operation)
                continue
            self._flush(run, outcomes)
            outcomes.append(_refused(operation, RefusedError(pretended)) if pretended else self._apply_one(operation))
        self._flush(run, outcomes)
        return outcomes

    def _flush(self, run: list[IpvsOperation], outcomes: list[Outcome]) -> None:
        """Send the collected IPVS operations, append their outcomes, and empty the collection."""
        if not run:
            return
        for operation, refused in zip(run, self._ipvs.apply(run), strict=True):
            outcomes.append(_refused(operation, refused) if refused else Outcome(operation))
        run.clear()

    def _apply_one(self, operation: Operation) -> Outcome:
        """Do an operation that is not for IPVS."""
        try:
            match operation:
                case AddAddress(address):
                    self._announcer.announce(self._links.add(address), address.address)
                case RemoveAddress(address):
                    self._links.remove(address)
                case WriteSysctl(name, value):
                    self._sysctls.write(name, value)
                case ReplaceRules(rules):
                    self._iptables.replace(rules)
        except RefusedError as refused:
            return _refused(operation, refused)
        except OSError as error:
            return _refused(operation, RefusedError(error.errno or errno.EIO))
        return Outcome(operation)


def _refused(operation: Operation, refused: RefusedError) -> Outcome:
    return Outcome(operation, refused.errno, explain(operation, refused.errno, refused.reason))
