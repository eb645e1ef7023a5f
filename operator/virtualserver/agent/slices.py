"""The kernel's table of connections, read without anybody noticing: in a thread, a slice at a time, with pauses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from itertools import islice

SLICE = 2000
"""Entries. Of a million, a slice takes the kernel about a quarter of a second."""


async def slices(lines: Iterator[str], size: int = SLICE) -> AsyncIterator[list[str]]:
    """Yield all lines; half of the time nothing is read. Raises KernelError.

    Whoever is cancelled meanwhile waits for no more than the slice that is being read.
    """
    while True:
        started = time.monotonic()
        part = await asyncio.to_thread(lambda: list(islice(lines, size)))
        took = time.monotonic() - started
        if part:
            yield part
        if len(part) < size:
            return
        await asyncio.sleep(took)
