"""Names of the labs that tests bring up: they differ between checkouts that are tested at the same time."""

import os
import zlib

from lab.guest import CHECKOUT
from lab.network import management


def of_tests() -> str:
    """The lab that tests share, another one for each checkout; who tests one checkout twice at the same time sets the
    variable, to 1 to 8 letters and digits.

    Of several processes that run tests, each has one.
    """
    name = os.environ.get("VIRTUALSERVER_TEST_LAB") or f"t{zlib.crc32(bytes(CHECKOUT)):07x}"[:8]
    worker = os.environ.get("PYTEST_XDIST_WORKER") or "gw0"
    return name if worker == "gw0" else beside(name, worker)


def beside(name: str, purpose: str) -> str:
    """A name for one more lab next to that one, always the same, valid, and with another management segment."""
    salt, made = 0, name
    while management(made).ipv4 == management(name).ipv4:
        made = f"{purpose[0]}{zlib.crc32(f'{name} {purpose} {salt}'.encode()):07x}"[:8]
        salt += 1
    return made
