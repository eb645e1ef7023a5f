"""Ask the kernel for one virtual service: a single exchange, however many others there are."""

import struct

from virtualserver.kernel import wire
from virtualserver.kernel.attributes import attribute, parse
from virtualserver.kernel.channel import GENERIC, Channel
from virtualserver.kernel.codec import Encoder, service_id
from virtualserver.kernel.decoding import GENERIC_SIZE, decode_service
from virtualserver.model.types import ServiceKey

_CTRL_FAMILY, _CTRL_CMD_GETFAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2


class Looker:
    """For one virtual service of this network namespace."""

    def __init__(self, key: ServiceKey) -> None:
        self._channel = Channel(GENERIC, 5.0)
        name = attribute(_FAMILY_NAME, wire.FAMILY_NAME.encode() + b"\0")
        answer = self._channel.transact(_CTRL_FAMILY, struct.pack("=BBH", _CTRL_CMD_GETFAMILY, 1, 0) + name)
        number = struct.unpack_from("=H", parse(answer, GENERIC_SIZE, len(answer))[_FAMILY_ID])[0]
        encoder = Encoder(number)
        self._family = encoder.family
        self._request = encoder.generic(wire.CMD_GET_SERVICE) + service_id(key)

    def scheduler(self) -> str:
        answer = self._channel.transact(self._family, self._request)
        entry = decode_service(answer, GENERIC_SIZE, len(answer))
        return entry[1].scheduler if entry else ""
