"""The real kernel: assembles the adapters of this package into the two verbs of ``port.Kernel``."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from virtualserver.kernel import connections
from virtualserver.kernel.announce import Announcer
from virtualserver.kernel.fou import Fou
from virtualserver.kernel.iproute import Changes
from virtualserver.kernel.iptables import Iptables
from virtualserver.kernel.ipvs import Ipvs, IpvsOperation
from virtualserver.kernel.links import IFF_LOWER_UP, Links
from virtualserver.kernel.refusals import FailHook, RefusedError, check_address, check_link, explain
from virtualserver.kernel.syncdaemons import SyncDaemons
from virtualserver.kernel.sysctls import Sysctls
from virtualserver.kernel.usage import usage
from virtualserver.kernel.vrrp import Elections, Vrrp
from virtualserver.kernel.ways import way
from virtualserver.model.operations import (
    AddAddress,
    AddDecapsulation,
    AddLink,
    AddressOperation,
    Allow,
    ConfigureInstances,
    DaemonOperation,
    DestinationOperation,
    Forbid,
    LinkOperation,
    Operation,
    Outcome,
    RaiseLink,
    RemoveAddress,
    RemoveDecapsulation,
    RemoveLink,
    ReplaceRules,
    ServiceOperation,
    StartDaemon,
    StopDaemon,
    VrrpOperation,
    WriteSysctl,
)
from virtualserver.model.types import IPAddress, Rules, State
from virtualserver.model.usage import Usage


class Netlink:
    """Reads and changes the network namespace it was made in. For one thread at a time, without an event loop.

    ``writes`` counts the operations that were tried since the start, refused ones included.
    """

    def __init__(
        self,
        *,
        deadline: float = 5.0,
        proc_sys: Path = Path("/proc/sys"),
        fail: FailHook | None = None,
        services: bool = True,
        run_dir: Path | None = None,
    ) -> None:
        """``deadline`` in seconds bounds each exchange with the kernel; ``fail`` injects refusals.

        Without ``services`` the IPVS table is not looked at: a machine that needs none need not have the module.
        ``run_dir`` is shared with keepalived's supervisor; without it there is no VRRP.
        """
        self.writes = 0
        self._services = services
        self._fail = fail
        self._ipvs = Ipvs(deadline)
        self._daemons = SyncDaemons(deadline)
        self._fou = Fou(deadline)
        self._links = Links(deadline)
        self._changes = Changes(proc_sys)
        self._sysctls = Sysctls(proc_sys)
        self._iptables = Iptables()
        self._announcer = Announcer(proc_sys)
        self._vrrp = Vrrp(run_dir) if run_dir is not None else None

    def close(self) -> None:
        """Close the sockets; what is in the kernel stays."""
        self._ipvs.close()
        self._daemons.close()
        self._fou.close()
        self._links.close()

    def read(self, sysctls: Sequence[str] = (), *, rules: bool = False) -> State:
        """Return the node's state as ``port.Kernel`` promises; raises KernelError, never a partial answer."""
        links, addresses = self._links.read()
        mtus = {name: link.mtu for name, link in links.items()}
        elections = self._vrrp.read() if self._vrrp is not None else Elections()
        return State(
            services=self._ipvs.read() if self._services else {},
            addresses=addresses,
            sysctls=self._sysctls.read(sysctls),
            rules=self._iptables.read() if rules else Rules(),
            links=frozenset(links),
            mtus=mtus,
            down=frozenset(name for name, link in links.items() if not link.flags & IFF_LOWER_UP),
            asked=frozenset(name for name, link in links.items() if link.asked),
            inward=frozenset(name for name, link in links.items() if link.inward),
            decapsulations=self._fou.read(),
            own_links={name: link.own for name, link in links.items() if link.own is not None},
            daemons=self._daemons.read(mtus) if self._services else frozenset(),
            indexes={name: link.index for name, link in links.items()},
            instances=elections.instances,
            eligible=elections.eligible,
            electing=elections.running,
        )

    def connections(self, addresses: frozenset[IPAddress]) -> int:
        """Return how many connections the kernel keeps, as ``port.Kernel`` promises."""
        counts = connections.count(connections.read())
        return sum(counts[address] for address in addresses)

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Apply all in their order, runs of IPVS operations as batches; return one outcome each."""
        outcomes: list[Outcome] = []
        run: list[IpvsOperation] = []
        try:
            for operation in operations:
                self.writes += 1
                pretended = self._fail(self.writes, operation) if self._fail else 0
                if not pretended and isinstance(operation, ServiceOperation | DestinationOperation):
                    run.append(operation)
                    continue
                self._flush(run, outcomes)
                failed = _refused(operation, RefusedError(pretended)) if pretended else None
                outcomes.append(failed or self._apply_one(operation))
            self._flush(run, outcomes)
        finally:
            self._changes.close()
        return outcomes

    def mtu_to(self, peer: IPAddress) -> int:
        """Return how many bytes fit into a packet to a peer; raises KernelError when there is no route to it."""
        return way(peer).mtu

    def usage(self) -> Usage:
        """Return what connections use now; raises KernelError."""
        return usage()

    def _flush(self, run: list[IpvsOperation], outcomes: list[Outcome]) -> None:
        """Send the collected IPVS operations, append their outcomes, and empty the collection."""
        if not run:
            return
        for operation, refused in zip(run, self._ipvs.apply(run), strict=True):
            outcomes.append(_refused(operation, refused) if refused else Outcome(operation))
        run.clear()

    def _apply_one(self, operation: Operation) -> Outcome:
        """Do an operation that is not for IPVS's table."""
        try:
            if isinstance(operation, AddressOperation | LinkOperation):
                self._change_link(operation)
            elif isinstance(operation, DaemonOperation):
                self._change_daemon(operation)
            elif isinstance(operation, VrrpOperation):
                self._change_vrrp(operation)
            else:
                self._change_setting(operation)
        except RefusedError as refused:
            return _refused(operation, refused)
        except OSError as error:
            return _refused(operation, RefusedError(error.errno or errno.EIO))
        return Outcome(operation)

    def _change_link(self, operation: AddressOperation | LinkOperation) -> None:
        match operation:
            case AddAddress(address):
                check_address(address)
                link = self._links.link(address.link)
                self._changes.add_address(link, address)
                self._announcer.announce(link, address.address)
            case RemoveAddress(address):
                check_address(address)
                self._changes.remove_address(self._links.link(address.link), address)
            case AddLink(name, wanted):
                check_link(name, wanted)
                self._changes.add_link(name, wanted)
            case RaiseLink(name):
                self._changes.raise_link(self._links.link(name))
            case RemoveLink(name):
                self._changes.remove_link(self._links.link(name))

    def _change_daemon(self, operation: DaemonOperation) -> None:
        match operation:
            case StartDaemon(daemon):
                self._daemons.start(daemon)
            case StopDaemon(role):
                self._daemons.stop(role)

    def _change_vrrp(self, operation: VrrpOperation) -> None:
        if self._vrrp is None:
            raise RefusedError(errno.EOPNOTSUPP)
        match operation:
            case ConfigureInstances(instances):
                self._vrrp.configure(instances)
            case Allow(group):
                self._vrrp.allow(group)
            case Forbid(group):
                self._vrrp.forbid(group)

    def _change_setting(self, operation: Operation) -> None:
        match operation:
            case AddDecapsulation(one):
                self._fou.add(one)
            case RemoveDecapsulation(one):
                self._fou.remove(one)
            case WriteSysctl(name, value):
                self._sysctls.write(name, value)
            case ReplaceRules(rules):
                self._iptables.replace(rules)


def _refused(operation: Operation, refused: RefusedError) -> Outcome:
    return Outcome(operation, refused.errno, explain(operation, refused.errno, refused.reason))
