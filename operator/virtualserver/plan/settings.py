"""The kernel settings that a director owns, and why each has its value (``ipvs-sysctl.rst``, ``ip-sysctl.rst``).

Names are dotted as ``sysctl(8)`` writes them: a dot in the name of a link becomes a slash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from virtualserver.model.types import LinkKind, OwnLink, ServiceKey, State

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


def real_server(uplinks: Iterable[str], own_links: Mapping[str, OwnLink]) -> dict[str, str]:
    """Return the settings of a node that takes packets for virtual addresses on ``own_links``.

    All are of single links. IPv6 needs none: a link answers solicitations for its own addresses only, and knows no
    reverse-path filter.
    """
    wanted: dict[str, str] = {}
    for uplink in sorted(uplinks):
        # Answer for, and ask with, addresses of the link that is asked only: the virtual address is on another.
        wanted[f"net.ipv4.conf.{_part(uplink)}.arp_ignore"] = "1"
        wanted[f"net.ipv4.conf.{_part(uplink)}.arp_announce"] = "2"
    for name, link in sorted(own_links.items()):
        if link.kind is not LinkKind.DUMMY:
            # The client's packet comes out of the tunnel, the way back to the client does not go into it.
            wanted[f"net.ipv4.conf.{_part(name)}.rp_filter"] = "2"
    return wanted


def uplinks(actual: State) -> frozenset[str]:
    """Return the node's own links that hold addresses: those on which somebody may ask for one."""
    return frozenset(address.link for address in actual.addresses) - actual.own_links.keys() - {"lo"}


def names(
    links: Iterable[str], uplinks: Iterable[str] = (), own_links: Mapping[str, OwnLink] | None = None
) -> tuple[str, ...]:
    """Return the names of every setting that may be ours on a node that holds addresses on ``links``."""
    fixed = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    return (
        *director((), (), translate=False, expire=False),
        *fixed,
        *_send_redirects(links),
        *real_server(uplinks, own_links or {}),
    )


def link_of(name: str) -> str | None:
    """Return the link that a setting belongs to; None for one of the node as a whole."""
    parts = name.split(".")
    if len(parts) != 5 or parts[2] != "conf" or parts[3] in ("all", "default"):
        return None
    return parts[3].replace("/", ".")


def _part(link: str) -> str:
    return link.replace(".", "/")


def _send_redirects(links: Iterable[str]) -> list[str]:
    parts = ("all", *(_part(name) for name in sorted(links)))
    return [f"net.ipv4.conf.{part}.send_redirects" for part in parts]
