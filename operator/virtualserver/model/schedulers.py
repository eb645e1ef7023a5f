"""The schedulers of IPVS, their flags (``net/netfilter/ipvs/ip_vs_*.c``), and the one flag that all have."""

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

HASHING = frozenset({"mh", "sh", "dh"})
"""Those that choose by a table made from the real servers in their order, so that equal ones choose alike."""

ONE_PACKET = "ops"
"""Every packet of a UDP service is scheduled anew; no connection is kept (``IP_VS_SVC_F_ONEPACKET``)."""

_ONE_PACKET_BIT = 0x04
_GENERIC = ("flag-1", "flag-2")
_BIT_BY_FLAG = {
    ONE_PACKET: _ONE_PACKET_BIT,
    **{flag: 0x08 << position for flags in SCHEDULERS.values() for position, flag in enumerate(flags)},
}
"""``IP_VS_SVC_F_SCHED1`` (0x08) and ``SCHED2`` (0x10); each scheduler gives these bits names of its own."""


def flag_bits(flags: frozenset[str]) -> int:
    """Return the kernel's bits for flag names; raises KeyError for a name that no scheduler has."""
    bits = 0
    for flag in flags:
        bits |= _BIT_BY_FLAG[flag]
    return bits


def flag_names(scheduler: str, bits: int) -> frozenset[str]:
    """Return the names of the flags set in ``bits``; bits that a scheduler lacks get a generic name."""
    names = SCHEDULERS.get(scheduler) or _GENERIC
    found = {name for position, name in enumerate(names) if bits & (0x08 << position)}
    return frozenset(found | {ONE_PACKET} if bits & _ONE_PACKET_BIT else found)
