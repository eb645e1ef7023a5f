"""One processor of the machine for each guest.

A guest has one processor, but is many processes of the machine, of which one runs at a time and hands over to the next.
Left alone, they wander between the machine's processors, and each handing over wakes another one: tied to one they
forward 2.5 times as much, and always the same (`tests/bench/forwarding.py` on two processors).
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from lab import processes, room
from lab.exclusive import exclusive

HOSTS = "VIRTUALSERVER_LAB_HOSTS"
"""Environment variable of a guest: how many hosts it holds, which is how busy it will be beside others."""


@contextmanager
def tied(hosts: int) -> Iterator[dict[str, str]]:
    """What this thread starts in the block runs on the processor that has least to do for guests until now.

    The block gets the environment that tells others about it.
    """
    everywhere = os.sched_getaffinity(0)
    with exclusive(room.SHARED_MEMORY / "processors"):  # labs that start at once would choose the same
        os.sched_setaffinity(0, {_least_busy(everywhere)})
        try:
            yield {HOSTS: str(hosts)}
        finally:
            os.sched_setaffinity(0, everywhere)


def _least_busy(allowed: set[int]) -> int:
    """Of several, the first."""
    busy = Counter(dict.fromkeys(sorted(allowed), 0))
    for pid, hosts in processes.with_setting(HOSTS).items():
        for processor in processes.affinity(pid):
            busy[processor] += int(hosts)
    return min(sorted(allowed), key=lambda one: busy[one])
