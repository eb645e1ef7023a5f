"""The IPVS table of this network namespace over generic netlink: read all of it, write batches of operations."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from virtualserver.kernel import wire
from virtualserver.kernel.attributes import NLM_F_ACK, NLM_F_REQUEST, MalformedMessageError
from virtualserver.kernel.channel import GENERIC, Channel, Dump
from virtualserver.kernel.codec import Encoder, service_id
from virtualserver.kernel.decoding import DestinationDecoder, decode_service, fingerprint
from virtualserver.kernel.generic import HEADER_SIZE, resolve
from virtualserver.kernel.port import KernelError
from virtualserver.kernel.refusals import RefusedError
from virtualserver.model.operations import (
    AddService,
    DestinationOperation,
    RemoveService,
    ServiceOperation,
    SetService,
)
from virtualserver.model.types import DestinationContent, DestinationKey, Service, ServiceContent, ServiceKey

IpvsOperation = ServiceOperation | DestinationOperation
_View = TypeVar("_View")

_BATCH = 512
_TRIES = 6
"""How often a read is begun again while another program writes, before it is given up."""


@dataclass(slots=True)
class _Seen:
    """What the last read found for one service, to be used again while its entries' bytes stay the same."""

    fingerprints: list[bytes]
    service: Service


class Ipvs:
    """The table. Not for several threads at once."""

    def __init__(self, deadline: float = 5.0) -> None:
        """``deadline`` in seconds bounds each exchange with the kernel."""
        self._channel = Channel(GENERIC, deadline)
        self._encoder: Encoder | None = None
        self._decoder = DestinationDecoder()
        self._seen: dict[ServiceKey, _Seen] = {}

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def read(self) -> dict[ServiceKey, Service]:
        """Return every service that a key can name, each with its real servers in the order in which they were added.

        An unchanged service is the same object as in the last read. Services by firewall mark are left out.
        Raises KernelError when IPVS is missing, or when the table never stands still.
        """
        for _ in range(_TRIES):
            try:
                found = self._read_once()
            except OSError as error:
                if error.errno == errno.ENOENT and self._encoder is not None:
                    self._encoder = None  # the module was reloaded: its family has another number now
                    continue
                if error.errno == errno.EINTR:
                    continue
                raise KernelError(f"cannot read the IPVS table: {error.strerror}") from error
            except MalformedMessageError as error:
                raise KernelError(f"cannot understand the IPVS table: {error}") from error
            if found is not None:
                self._seen = found
                return {key: seen.service for key, seen in found.items()}
        raise KernelError("the IPVS table kept changing while it was read")

    def apply(self, operations: Sequence[IpvsOperation]) -> list[RefusedError | None]:
        """Send operations in their order, many at a time; return one refusal or None for each."""
        results: list[RefusedError | None] = []
        for start in range(0, len(operations), _BATCH):
            results += self._apply_batch(operations[start : start + _BATCH])
        return results

    def _apply_batch(self, operations: Sequence[IpvsOperation]) -> list[RefusedError | None]:
        results: list[RefusedError | None] = [None] * len(operations)
        try:
            encoder = self._resolved()
        except KernelError as error:
            return [RefusedError(errno.EOPNOTSUPP, str(error))] * len(operations)
        first = self._channel.sequence(len(operations))
        positions: list[int] = []
        requests: list[bytes] = []
        for position, operation in enumerate(operations):
            try:
                requests.append(_pack(encoder, operation, NLM_F_REQUEST, first + len(requests)))
                positions.append(position)
            except RefusedError as refused:
                results[position] = refused
        if not requests:
            return results
        last = first + len(requests) - 1
        requests[-1] = _pack(encoder, operations[positions[-1]], NLM_F_REQUEST | NLM_F_ACK, last)
        try:
            refused_by_index = self._channel.batch(requests, first)
        except OSError as error:  # nobody knows how far the kernel got: each may or may not be done
            refused_by_index = dict.fromkeys(range(len(requests)), error.errno or errno.EIO)
        for index, code in refused_by_index.items():
            results[positions[index]] = RefusedError(code)
        return results

    def _read_once(self) -> dict[ServiceKey, _Seen] | None:
        """Read all once; None when what was read cannot have stood in the table at any one time."""
        services = self._services()
        found = {key: self._destinations(key, content) for key, content in services.items()}
        # A dump of a service that has vanished meanwhile is an empty success. Nothing may be concluded from it.
        if any(not seen.fingerprints for seen in found.values()) and self._services() != services:
            return None
        return found

    def _services(self) -> dict[ServiceKey, ServiceContent]:
        dump = self._dump(wire.CMD_GET_SERVICE)
        services = _decode_services(dump)
        if dump.snapshot or not _changed(services, self._seen):
            return services
        return self._settled(wire.CMD_GET_SERVICE, b"", _decode_services, services)[1]

    def _destinations(self, key: ServiceKey, content: ServiceContent) -> _Seen:
        """Return one service with its real servers, as in the last read where their bytes are the same."""
        name = service_id(key)
        dump = self._dump(wire.CMD_GET_DEST, name)
        prints = _fingerprints(dump)
        seen = self._seen.get(key)
        if seen is not None and seen.fingerprints == prints:
            if seen.service.content == content:
                return seen
            return _Seen(prints, Service(content, seen.service.destinations))
        if not dump.snapshot:
            dump, prints = self._settled(wire.CMD_GET_DEST, name, _fingerprints, prints)
        return _Seen(prints, Service(content, self._decoded(dump, prints, seen, key.address.version)))

    def _settled(
        self, command: int, attributes: bytes, view: Callable[[Dump], _View], last: _View
    ) -> tuple[Dump, _View]:
        """Repeat a dump of several parts until two in a row look the same; raises KernelError after some tries.

        Between the parts others may write: entries are then missing or doubled, and the kernel does not say so.
        """
        for _ in range(_TRIES):
            dump = self._dump(command, attributes)
            found = view(dump)
            if dump.snapshot or found == last:
                return dump, found
            last = found
        raise KernelError("the IPVS table kept changing while it was read")

    def _decoded(
        self, dump: Dump, prints: list[bytes], seen: _Seen | None, version: int
    ) -> dict[DestinationKey, DestinationContent]:
        """Return the real servers of a dump, oldest first; those of the last read are the same objects again."""
        known: dict[bytes, tuple[DestinationKey, DestinationContent]] = {}
        if seen is not None and len(seen.fingerprints) == len(seen.service.destinations):
            known = dict(zip(reversed(seen.fingerprints), seen.service.destinations.items(), strict=True))
        destinations: dict[DestinationKey, DestinationContent] = {}
        for at in range(len(prints) - 1, -1, -1):  # the kernel puts the newest first
            entry = known.get(prints[at])
            if entry is None:
                data, start, end = dump.entries[at]
                entry = self._decoder.decode(data, start + HEADER_SIZE, end, version)
            destinations[entry[0]] = entry[1]
        return destinations

    def _dump(self, command: int, attributes: bytes = b"") -> Dump:
        encoder = self._resolved()
        return self._channel.dump(encoder.family, encoder.generic(command) + attributes)

    def _resolved(self) -> Encoder:
        """Return the encoder for the family's number, asking for it (which loads the module) when not known yet."""
        if self._encoder is None:
            try:
                self._encoder = Encoder(resolve(self._channel, wire.FAMILY_NAME))
            except OSError as error:
                if error.errno == errno.ENOENT:
                    raise KernelError("this kernel has no IPVS: load the module ip_vs (modprobe ip_vs)") from None
                raise KernelError(f"cannot ask for IPVS: {error.strerror}") from error
        return self._encoder


def _pack(encoder: Encoder, operation: IpvsOperation, flags: int, sequence: int) -> bytes:
    try:
        if isinstance(operation, AddService | SetService | RemoveService):
            return encoder.service(operation, flags, sequence)
        return encoder.destination(operation, flags, sequence)
    except (struct.error, OverflowError) as error:
        raise RefusedError(errno.ERANGE, f"a number does not fit: {error}") from error


def _fingerprints(dump: Dump) -> list[bytes]:
    return [fingerprint(data, start + HEADER_SIZE, end) for data, start, end in dump.entries]


def _decode_services(dump: Dump) -> dict[ServiceKey, ServiceContent]:
    decoded = (decode_service(data, start + HEADER_SIZE, end) for data, start, end in dump.entries)
    return dict(entry for entry in decoded if entry is not None)


def _changed(services: dict[ServiceKey, ServiceContent], seen: dict[ServiceKey, _Seen]) -> bool:
    return len(services) != len(seen) or any(
        key not in seen or seen[key].service.content != content for key, content in services.items()
    )
