"""What the agent asks of a kernel; ``Netlink`` is the real one, ``FakeKernel`` refuses the same things."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from virtualserver.model.operations import Operation, Outcome
from virtualserver.model.types import IPAddress, State
from virtualserver.model.usage import Usage


class KernelError(Exception):
    """A read failed: the state of the kernel is not known, so nothing may be decided from it."""


class Kernel(Protocol):
    """Two verbs and two questions. All block; the agent calls them from one worker thread, one call at a time."""

    def read(self, sysctls: Sequence[str] = (), *, rules: bool = False) -> State:
        """Return services, addresses, links and the named sysctls; rules only when asked (they cost a process).

        A sysctl that does not exist (module not loaded) is left out of the result; a part of its name that is ``*``
        stands for all that are there.
        Raises KernelError when any part cannot be read: never a partial answer.
        """
        ...

    def connections(self, addresses: frozenset[IPAddress]) -> int:
        """Return how many connections to these virtual addresses the kernel keeps, templates of persistence included.

        Raises KernelError.
        """
        ...

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Apply all operations in their order and return one outcome each; a refused one stops none of the others."""
        ...

    def mtu_to(self, peer: IPAddress) -> int:
        """Return how many bytes fit into a packet to a peer, as its route says; raises KernelError without one."""
        ...

    def usage(self) -> Usage:
        """Return what connections use now; raises KernelError. Costs a look at every socket."""
        ...
