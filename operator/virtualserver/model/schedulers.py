"""The schedulers of IPVS and the flags that each one has (``net/netfilter/ipvs/ip_vs_*.c``)."""

from __future__ import annotations

SCHEDULERS: dict[str, tuple[str, ...]] = {
    "rr": (),
    "wrr": (),
    "lc": (),
    "wlc": (),
    "lblc": (),
    "lblcr": (),
    "dh": (),
    "sh": ("sh-fallback", "sh-port"),
    "mh": ("mh-fallback", "mh-port"),
    "sed": (),
    "nq": (),
    "fo": (),
    "ovf": (),
}
"""Scheduler name -> its flags, in the order of the bits 0x08 and 0x10."""

_GENERIC = ("flag-1", "flag-2")
_BIT_BY_FLAG = {flag: 0x08 << position for flags in SCHEDULERS.values() for position, flag in enumerate(flags)}
"""``IP_VS_SVC_F_SCHED1`` (0x08) and ``SCHED2`` (0x10); each scheduler gives the bits names of its own."""


def flag_bits(flags: frozenset[str]) -> int:
    """Return the kernel's bits for flag names; raises KeyError for a name that no scheduler has."""
    bits = 0
    for flag in flags:
        bits |= _BIT_BY_FLAG[flag]
    return bits


def flag_names(scheduler: str, bits: int) -> frozenset[str]:
    """Return the names of the scheduler bits set in ``bits``; bits that a scheduler lacks get a generic name."""
    names = SCHEDULERS.get(scheduler) or _GENERIC
    return frozenset(name for position, name in enumerate(names) if bits & (0x08 << position))
