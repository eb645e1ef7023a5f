"""Ask the kernel for one virtual service: a single exchange, however many others there are."""

from virtualserver.kernel import wire
from virtualserver.kernel.channel import GENERIC, Channel
from virtualserver.kernel.codec import Encoder, service_id
from virtualserver.kernel.decoding import decode_service
from virtualserver.kernel.generic import HEADER_SIZE, resolve
from virtualserver.model.types import ServiceKey


class Looker:
    """For one virtual service of this network namespace."""

    def __init__(self, key: ServiceKey) -> None:
        self._channel = Channel(GENERIC, 5.0)
        encoder = Encoder(resolve(self._channel, wire.FAMILY_NAME))
        self._family = encoder.family
        self._request = encoder.generic(wire.CMD_GET_SERVICE) + service_id(key)

    def scheduler(self) -> str:
        answer = self._channel.transact(self._family, self._request)
        entry = decode_service(answer, HEADER_SIZE, len(answer))
        return entry[1].scheduler if entry else ""
