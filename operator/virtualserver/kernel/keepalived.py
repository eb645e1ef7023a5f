"""keepalived's configuration (Debian's 2.2.7, VRRP only) for the virtual routers of this node; pure.

Only the token of a group is advertised, so directors never disagree about what an advertisement says, however many
addresses one of them knows of already; all others are ``virtual_ipaddress_excluded``: held, not advertised.
keepalived watches none of them (``no_track``): one that vanishes is put back by the agent and moves nothing.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address
from pathlib import Path

from virtualserver.kernel.refusals import RefusedError
from virtualserver.model.addresses import LinkAddress
from virtualserver.model.failover import Instance, token

ALLOWED, FORBIDDEN = b"0\n", b"1\n"
"""What a track file of weight 0 says: 0 is well, anything else a fault."""

_GLOBAL = """\
global_defs {
  router_id virtualserver
  vrrp_version 3
  script_user root
  dynamic_interfaces
  vrrp_garp_master_repeat 2
  vrrp_garp_master_delay 1
  vrrp_garp_master_refresh 10
  vrrp_garp_interval 0.0001
  vrrp_gna_interval 0.0001
  vrrp_garp_lower_prio_repeat 2
  vrrp_garp_lower_prio_delay 1
  vrrp_higher_prio_send_advert true
  max_auto_priority -1
  vrrp_netlink_cmd_rcv_bufs 4194304
  vrrp_netlink_cmd_rcv_bufs_force true
  vrrp_netlink_monitor_rcv_bufs 4194304
  vrrp_netlink_monitor_rcv_bufs_force true
}
"""
"""Neighbours are told twice at once, twice a second later, and every 10 s for those that missed it (switches and hosts
drop some). After two were active (a partition), the one that stays tells them again when it hears of the other.
The pauses between these (100 us) let advertisements through, and nothing overflows when there are thousands.
Without ``dynamic_interfaces`` one missing link would stop all virtual routers. Real-time priority is given from
outside: ``vrrp_rt_priority`` comes with a limit of processor time that a reload sets to 0, and the kernel kills it."""


_GROUP = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LINK = re.compile(r"[^\s/\"\\]{1,15}")


def check_instances(instances: Iterable[Instance]) -> None:
    """Refuse what keepalived would take otherwise than meant; raises RefusedError."""
    groups: set[str] = set()
    routers: set[int] = set()
    for one in instances:
        if not _GROUP.fullmatch(one.group) or one.group in groups:
            raise RefusedError(errno.EINVAL, f"{one.group!r} is no name of a group, or there twice")
        if not 1 <= one.router_id <= 255 or one.router_id in routers:
            raise RefusedError(
                errno.EINVAL, f"router id {one.router_id} of {one.group} is out of range, or there twice"
            )
        if not (1 <= one.priority <= 254 and 10 <= one.interval <= 40950 and 1 <= one.missed <= 100):
            raise RefusedError(
                errno.ERANGE, f"priority, interval or missed advertisements of {one.group}: out of range"
            )
        links = {one.link, *one.links, *(address.link for address in one.addresses)}
        if not all(map(_LINK.fullmatch, links)):
            raise RefusedError(errno.EINVAL, f"a link of {one.group} has no name of a link")
        if {one.version, *(end.version for end in (one.source, *one.peers) if end)} not in ({4}, {6}):
            raise RefusedError(errno.EINVAL, f"advertisements of {one.group} must be of one IP version")
        groups.add(one.group)
        routers.add(one.router_id)


def track_file(run_dir: Path, group: str) -> Path:
    """Return the file that says whether this node may hold a group's addresses."""
    return run_dir / "eligible" / group


def held(instance: Instance) -> tuple[LinkAddress, ...]:
    """Return every address that keepalived puts on this node when it is active for a group, and takes off again."""
    advertised = (_advertised(instance),) if instance.version == 6 else ()
    return (*advertised, token(instance.router_id), *instance.addresses)


def render(instances: Iterable[Instance], run_dir: Path) -> str:
    """Return the text of ``keepalived.conf``; the same for the same instances in any order."""
    parts = [_GLOBAL]
    for one in sorted(instances, key=lambda one: one.group):
        parts.append("\n".join(_instance(one, run_dir)) + "\n")
    return "\n".join(parts)


def _instance(one: Instance, run_dir: Path) -> Iterator[str]:
    """Yield the lines of one virtual router and of its track file."""
    name = _quoted(one.group)
    advertised, *others = held(one)
    yield f"track_file {name} {{"
    yield f"  file {_quoted(str(track_file(run_dir, one.group)))}"
    yield "  weight 0"
    yield "}"
    yield f"vrrp_instance {name} {{"
    yield "  state BACKUP"
    yield f"  interface {_quoted(one.link)}"
    yield f"  virtual_router_id {one.router_id}"
    yield f"  priority {one.priority}"
    yield f"  advert_int {one.interval / 1000:g}"
    yield f"  down_timer_adverts {one.missed}"
    if one.preempt_delay is None:
        yield "  nopreempt"
    elif one.preempt_delay > 0:
        yield f"  preempt_delay {one.preempt_delay:g}"
    yield from _block("track_file", [name])
    if others_links := [link for link in one.links if link != one.link]:  # its own it watches anyway
        yield from _block("track_interface", map(_quoted, others_links))
    if one.source is not None and one.peers:
        yield f"  unicast_src_ip {one.source}"
        yield "  unicast_ttl 255"  # and nothing less is taken: who sends is on the segment
        yield from _block("unicast_peer", (f"{peer} min_ttl 255" for peer in one.peers))
    yield from _block("virtual_ipaddress", [_held(advertised)])
    yield from _block("virtual_ipaddress_excluded", map(_held, others))
    yield "}"


def _advertised(instance: Instance) -> LinkAddress:
    """Return what is advertised by IPv6: its first address must be a link-local one (RFC 9568, 5.2.9)."""
    return LinkAddress("lo", IPv6Address(f"fe80::7673:{instance.router_id:x}"), 128)


def _held(address: LinkAddress) -> str:
    """Return an address as keepalived is told of it.

    As when the agent adds one itself: a host address makes no route, and no IPv6 connection of the node's own begins at
    it (``preferred_lft 0``; IPv4 takes the first address of a link, which is the node's).
    """
    words = [f"{address.address}/{address.prefix}", "dev", _quoted(address.link), "no_track"]
    if address.address.is_loopback:
        words += ["scope", "host"]
    if address.prefix == address.address.max_prefixlen:
        words.append("noprefixroute")
    if address.address.version == 6:
        words += ["preferred_lft", "0"]
    return " ".join(words)


def _block(keyword: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"  {keyword} {{"
    yield from (f"    {line}" for line in lines)
    yield "  }"


def _quoted(word: str) -> str:
    """Return a word that keepalived takes as it is: outside quotes its comments and definitions begin anywhere."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
