"""The kernel settings that a director owns, and why each has its value (``ipvs-sysctl.rst``, ``ip-sysctl.rst``).

Names are dotted as ``sysctl(8)`` writes them: a dot in the name of a link becomes a slash.
"""

from __future__ import annotations

from collections.abc import Iterable

from virtualserver.model.types import ServiceKey

EXPIRE = "net.ipv4.vs.expire_nodest_conn"


def director(links: Iterable[str], services: Iterable[ServiceKey], *, translate: bool, expire: bool) -> dict[str, str]:
    """Return the settings of a director that serves ``services`` over ``links`` with NAT."""
    wanted = {
        # Source translation is conntrack's work; without it conntrack only costs.
        "net.ipv4.vs.conntrack": "1" if translate else "0",
        # 0: connections wait while a service is repaired. 1: those to a dead real server end at once.
        EXPIRE: "1" if expire else "0",
        # A quiesced real server gets no new connections from persistence either.
        "net.ipv4.vs.expire_quiescent_template": "1",
        # A packet of a connection that nobody knows goes to a real server, whose reset tells the client;
        # our own resets are guarded, so without this such a client would hang.
        "net.ipv4.vs.sloppy_tcp": "1",
    }
    versions = {key.address.version for key in services}
    if 4 in versions:
        wanted["net.ipv4.ip_forward"] = "1"
        # Redirects would teach clients and real servers the way past the director.
        wanted.update(dict.fromkeys(_send_redirects(links), "0"))
    if 6 in versions:
        wanted["net.ipv6.conf.all.forwarding"] = "1"
    return wanted


def names(links: Iterable[str]) -> tuple[str, ...]:
    """Return the names of every setting that a director over ``links`` may own."""
    fixed = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    return (*director((), (), translate=False, expire=False), *fixed, *_send_redirects(links))


def link_of(name: str) -> str | None:
    """Return the link that a setting belongs to; None for one of the node as a whole."""
    parts = name.split(".")
    if len(parts) != 5 or parts[2] != "conf" or parts[3] in ("all", "default"):
        return None
    return parts[3].replace("/", ".")


def _send_redirects(links: Iterable[str]) -> list[str]:
    parts = ("all", *(name.replace(".", "/") for name in sorted(links)))
    return [f"net.ipv4.conf.{part}.send_redirects" for part in parts]
