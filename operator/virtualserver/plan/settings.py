"""The kernel settings that a director or a node of real servers owns, and why each has its value.

Sources: ``ipvs-sysctl.rst``, ``ip-sysctl.rst``.
Names are dotted as ``sysctl(8)`` writes them: a dot in the name of a link becomes a slash.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from virtualserver.api.base import seconds
from virtualserver.model.types import CATCH_ALL, Protocol, ServiceKey, State
from virtualserver.plan.world import DirectorGroup

PREFIX = "vs-"
"""How the names of all our own links begin."""

TRACKING = "net.ipv4.vs.conntrack"
EXPIRE = "net.ipv4.vs.expire_nodest_conn"
FORWARD_IPV6 = "net.ipv6.conf.all.forwarding"
UDP_IDLE = "net.netfilter.nf_conntrack_udp_timeout_stream"
"""Seconds for which a tracked UDP flow that went both ways for 2 s may be idle."""
ADVERTISEMENTS = "net.ipv6.conf.*.accept_ra"
"""Whether each link takes router advertisements: 0 never, 1 while the node does not forward, 2 always."""


def director(
    links: Iterable[str], services: Collection[ServiceKey], *, nat: bool, translate: bool, expire: bool
) -> dict[str, str]:
    """Return the settings of a node that serves ``services`` over ``links``; ``nat``: some of them by NAT."""
    wanted = {
        # Where the node tracks connections at all (kube-proxy makes it), IPVS must tell what it rewrites: an answer
        # that belongs to nothing is INVALID, and kube-proxy drops those that the node forwards. Of the other modes
        # answers take another way, so a connection would seem to be half open, and its packets INVALID instead.
        TRACKING: "1" if nat else "0",
        # 0: connections wait while a service is repaired. 1: those to a dead real server end at once.
        EXPIRE: "1" if expire else "0",
        # A quiesced real server gets no new connections from persistence either.
        "net.ipv4.vs.expire_quiescent_template": "1",
        # A packet of a connection that nobody knows goes to a real server, whose reset tells the client;
        # our own resets are guarded, so without this such a client would hang.
        "net.ipv4.vs.sloppy_tcp": "1",
    }
    if translate and any(key.protocol is Protocol.UDP for key in services):
        # IPVS keeps an idle flow for 300 s (``ip_vs_proto_udp.c``); forgotten earlier by conntrack (120 s), it would
        # go on from another source port, and answers would be lost. Short flows stay with 30 s, or a busy DNS
        # service would fill the table.
        wanted[UDP_IDLE] = "300"
    versions = {key.address.version for key in services}
    if 4 in versions:
        # Redirects would teach clients and real servers the way past the director.
        wanted.update(dict.fromkeys(_send_redirects(links), "0"))
    return wanted | _forwarding(versions)


def mirroring(group: DirectorGroup) -> dict[str, str]:
    """Return the settings of a director whose connections are mirrored, as its group wants them."""
    assert group.spec is not None
    wanted = group.spec.mirroring
    return {
        "net.ipv4.vs.sync_threshold": f"{wanted.threshold} {wanted.period}",
        "net.ipv4.vs.sync_refresh_period": str(int(seconds(wanted.refresh_period))),
        "net.ipv4.vs.sync_retries": str(wanted.retries),
        # Each entry is a message (``mirroring.MESSAGE``), and the receiver says nothing of those it has no room for: of
        # 15,000 in a second it lost 9 % with the default (0). The kernel takes twice ``rmem_max`` at most.
        "net.ipv4.vs.sync_sock_size": "1048576",
        # Others, found on a node, would send where its peers do not listen, or what they do not read (version 0 knows
        # neither IPv6 nor the sequence numbers of NAT); persistence is mirrored by its templates and its connections.
        "net.ipv4.vs.sync_ports": "1",
        "net.ipv4.vs.sync_version": "1",
        "net.ipv4.vs.sync_persist_mode": "0",
        # With 1 a node whose daemons run in both roles stops directing (``ip_vs_core.c``).
        "net.ipv4.vs.backup_only": "0",
    }


MIRRORING = (
    "net.ipv4.vs.sync_threshold",
    "net.ipv4.vs.sync_refresh_period",
    "net.ipv4.vs.sync_retries",
    "net.ipv4.vs.sync_sock_size",
    "net.ipv4.vs.sync_ports",
    "net.ipv4.vs.sync_version",
    "net.ipv4.vs.sync_persist_mode",
    "net.ipv4.vs.backup_only",
)


def real_server(links: Iterable[str], own_links: Iterable[str], services: Iterable[ServiceKey] = ()) -> dict[str, str]:
    """Return the settings of a node that holds virtual addresses and answers clients itself.

    ``links`` are the ``uplinks``, ``own_links`` those that we make. ``services`` are virtual
    services in this node's own table, which hand what arrives to its pods.
    """
    wanted: dict[str, str] = {}
    for name in links:
        # Only the director may answer for the virtual address, and no request may carry it as its sender.
        wanted[f"net.ipv4.conf.{_part(name)}.arp_ignore"] = "1"
        wanted[f"net.ipv4.conf.{_part(name)}.arp_announce"] = "2"
    for name in own_links:
        # A client's packet arrives from the tunnel and is answered over another link. (The kernel takes the larger of
        # this and the value for "all", which may be strict.)
        wanted[f"net.ipv4.conf.{_part(name)}.rp_filter"] = "2"
        # No link-local address: with one, routers would be looked for through the tunnel.
        wanted[f"net.ipv6.conf.{_part(name)}.addr_gen_mode"] = "1"
    return wanted | _forwarding({key.address.version for key in services})


def uplinks(actual: State) -> frozenset[str]:
    """Return the node's links on which others may ask by ARP for an address that it holds anywhere.

    Also those without an address, for the kernel answers on any link for the addresses of all of them (``arp.c``:
    ``arp_process``), and those that are down: they are quiet before they come up. Links into containers and
    virtual machines are left alone unless there is a network on them, as on the uplink of a node that is a container
    itself: there may be thousands, no client's segment is behind them, and a pod may have to ask there for an address
    that its node has elsewhere.
    """
    networks = {one.link for one in actual.addresses if one.address.version == 4 and one.prefix < 32}
    return actual.asked - (actual.inward - networks) - actual.own_links.keys() - frozenset(CATCH_ALL)


def names(links: Iterable[str], uplinks: Iterable[str] = (), own_links: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of every setting that may be ours on a node that holds addresses on ``links``."""
    fixed = (*director((), (), nat=False, translate=False, expire=False), *_forwarding({4, 6}), *_send_redirects(links))
    return (*fixed, UDP_IDLE, *MIRRORING, *real_server(sorted(uplinks), sorted(own_links)))


def link_of(name: str) -> str | None:
    """Return the link that a setting belongs to; None for one of the node as a whole."""
    parts = name.split(".")
    if len(parts) != 5 or parts[2] != "conf" or parts[3] in ("all", "default"):
        return None
    return parts[3].replace("/", ".")


def advertisements(desired: Mapping[str, str], found: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """Return what must hold before IPv6 forwarding is on: links that take router advertisements go on taking them.

    Else a node that has its default route from one loses it: with forwarding a link passes them over unless it is set
    to 2, and at the moment of the switch the kernel forgets the routes of all other links (``ndisc.c``,
    ``ipv6_accept_ra``; ``route.c``, ``rt6_purge_dflt_routers``). ``before`` holds the values found before ours.

    A node that forwarded before us took none then either, and a link set to 0 was set so on purpose: both stay.
    """
    if desired.get(FORWARD_IPV6) != "1" or before.get(FORWARD_IPV6, found.get(FORWARD_IPV6)) != "0":
        return {}
    return {
        name: "2"
        for name, value in found.items()
        if is_advertisement(name)
        and (link := link_of(name)) not in (None, "lo")
        and not str(link).startswith(PREFIX)
        and (value == "1" or (value == "2" and before.get(name) == "1"))
    }


def is_advertisement(name: str) -> bool:
    """Return whether a name is one of ``ADVERTISEMENTS``."""
    return name.startswith("net.ipv6.conf.") and name.endswith(".accept_ra")


def may_be_ours(name: str, value: str) -> bool:
    """Return whether we may have written a value that is found; what another hand has set since is not put back."""
    return value == "2" or not is_advertisement(name)


def _send_redirects(links: Iterable[str]) -> list[str]:
    parts = ("all", *map(_part, sorted(links)))
    return [f"net.ipv4.conf.{part}.send_redirects" for part in parts]


def _forwarding(versions: Iterable[int]) -> dict[str, str]:
    """Return what lets answers of real servers behind this node pass; IPv6 knows no such setting of one link."""
    names = {4: "net.ipv4.ip_forward", 6: FORWARD_IPV6}
    return {names[version]: "1" for version in sorted(versions)}


def _part(link: str) -> str:
    return link.replace(".", "/")
