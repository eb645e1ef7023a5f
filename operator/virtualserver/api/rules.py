"""Rules of single values and of the small models: what may be written there, in words that name the way out.

Three habits in CEL: a rule says true where another one already speaks (``!isIP(self) || ...``), so one mistake
gives one message; rules over pairs of list members look members up by ``indexOf`` instead of looping in loops,
because every write of a status runs them again; messages never repeat the field's path, it is put in front.
In Python a rule sees only values whose form is right.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from virtualserver.api.base import DURATION_PATTERN, milliseconds
from virtualserver.api.enums import AdminState, ForwardingMode, MonitorType, PersistenceType, RealServerType, TunnelType
from virtualserver.api.rule import Rule, Text, form
from virtualserver.model.schedulers import SCHEDULERS

if TYPE_CHECKING:
    from virtualserver.api.virtualserver import Monitor, Persistence, RealServer

_LABEL = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"


def text(pattern: str, message: str, max_length: int) -> Text:
    """Return what ``Annotated`` needs for a string with a form; the message says how the form looks."""
    return Text(max_length, form(pattern, message))


def duration(*rules: Rule) -> Text:
    """Return what ``Annotated`` needs for a duration that keeps these rules."""
    return Text(32, form(DURATION_PATTERN, "must be a duration such as 500ms, 2s or 1m30s"), *rules)


def between(least: str, most: str) -> Rule:
    """Return the rule of a duration that must lie between two others."""
    inside = f"duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"
    return Rule(
        f"!self.matches('{DURATION_PATTERN}') || ({inside})",
        f"must be from {least} to {most}",
        lambda value: milliseconds(least) <= milliseconds(value) <= milliseconds(most),
    )


WHOLE_SECONDS = Rule(
    f"!self.matches('{DURATION_PATTERN}') || duration(self).getMilliseconds() % 1000 == 0",
    "must be whole seconds: the kernel counts in seconds",
    lambda value: milliseconds(value) % 1000 == 0,
)

WHOLE_CENTISECONDS = Rule(
    f"!self.matches('{DURATION_PATTERN}') || duration(self).getMilliseconds() % 10 == 0",
    "must be whole hundredths of a second: VRRP counts in them",
    lambda value: milliseconds(value) % 10 == 0,
)

VRRP = (
    Rule(
        "self.preempt || !has(self.preemptDelay)",
        "may be set only with preempt: true; remove it",
        lambda vrrp: vrrp.preempt or vrrp.preempt_delay is None,
        ".preemptDelay",
    ),
)

MIRRORING = (
    Rule(
        "self.period < 1 || self.threshold < self.period",
        "must be less than period; lower it or raise period",
        lambda mirroring: mirroring.threshold < mirroring.period,
        ".threshold",
    ),
)

NODE_SELECTOR = Rule(
    f"self.all(k, k.size() <= 317 && k.matches('{_LABEL}'))",
    "every key must be the name of a label, such as virtualserver.dev/director",
    lambda labels: all(len(key) <= 317 and re.fullmatch(_LABEL, key) for key in labels),
)

FORWARDING = (
    Rule(
        "self.mode == 'NAT' || !has(self.nat)",
        "may be set only with mode NAT; remove it",
        lambda forwarding: forwarding.mode is ForwardingMode.NAT or forwarding.nat is None,
        ".nat",
    ),
    Rule(
        "self.mode == 'Tunnel' || !has(self.tunnel)",
        "may be set only with mode Tunnel; remove it",
        lambda forwarding: forwarding.mode is ForwardingMode.TUNNEL or forwarding.tunnel is None,
        ".tunnel",
    ),
)

TUNNEL = (
    Rule(
        "self.type == 'GUE' || !has(self.port)",
        "may be set only with type GUE; remove it",
        lambda tunnel: tunnel.type is TunnelType.GUE or tunnel.port is None,
        ".port",
    ),
    Rule(
        "self.type != 'IPIP' || !self.checksum",
        "must not be set with type IPIP, which has none; use GUE or GRE",
        lambda tunnel: tunnel.type is not TunnelType.IPIP or not tunnel.checksum,
        ".checksum",
    ),
)

SCHEDULER = (
    Rule(
        "!has(self.flags) || self.flags.all(f, f.startsWith(self.name + '-'))",
        "must belong to the scheduler: sh has sh-fallback and sh-port, mh has mh-fallback and mh-port, "
        "the others have none",
        lambda scheduler: set(scheduler.flags) <= set(SCHEDULERS[scheduler.name]),
        ".flags",
    ),
)


def _no_settings_of_persistence(value: Persistence) -> bool:
    return value.timeout is None and value.ipv4_prefix_length is None and value.ipv6_prefix_length is None


PERSISTENCE = (
    Rule(
        "self.type != 'None' || !(has(self.timeout) || has(self.ipv4PrefixLength) || has(self.ipv6PrefixLength))",
        "timeout, ipv4PrefixLength and ipv6PrefixLength have a meaning only with type SourceAddress; "
        "set type: SourceAddress or remove them",
        lambda value: value.type is not PersistenceType.NONE or _no_settings_of_persistence(value),
        ".type",
    ),
)


def _longer_than_interval(monitor: Monitor) -> str:
    times = f"{monitor.timeout} > {monitor.interval}"
    return f"must not be longer than interval ({times}); raise interval or lower timeout"


MONITOR = (
    Rule(
        f"!self.timeout.matches('{DURATION_PATTERN}') || !self.interval.matches('{DURATION_PATTERN}') || "
        "duration(self.timeout) <= duration(self.interval)",
        "must not be longer than interval; raise interval or lower timeout",
        lambda monitor: milliseconds(monitor.timeout) <= milliseconds(monitor.interval),
        ".timeout",
        "'must not be longer than interval (' + self.timeout + ' > ' + self.interval + "
        "'); raise interval or lower timeout'",
        _longer_than_interval,
    ),
    Rule(
        "self.type == 'TCP' || !has(self.tcp)",
        "may be set only with type TCP; remove it",
        lambda monitor: monitor.type is MonitorType.TCP or monitor.tcp is None,
        ".tcp",
    ),
)


def _one_member(server: RealServer) -> bool:
    return (server.address is None) != (server.service is None)


def _right_type(server: RealServer) -> bool:
    return server.type is None or (server.type is RealServerType.ADDRESS) == (server.address is not None)


def _member_too_many_or_missing(server: RealServer) -> str:
    way_out = "add one of them" if server.address is None else "remove one of them"
    return f"exactly one of address and service must be set; {way_out}"


REAL_SERVER = (
    Rule(
        "has(self.address) != has(self.service)",
        "exactly one of address and service must be set",
        _one_member,
        "",
        "has(self.address) ? 'exactly one of address and service must be set; remove one of them' : "
        "'exactly one of address and service must be set; add one of them'",
        _member_too_many_or_missing,
    ),
    Rule(
        "!has(self.type) || has(self.address) == has(self.service) || has(self.address) == (self.type == 'Address')",
        "must agree with the member that is set: Address with address, Service with service",
        _right_type,
        ".type",
    ),
    Rule(
        "!has(self.service) || has(self.address) || !has(self.port)",
        "may be set only with address; for a Service use service.port",
        lambda server: server.service is None or server.port is None,
        ".port",
    ),
    Rule(
        "!has(self.service) || has(self.address) || self.adminState == 'Enabled'",
        "may be set only with address; to drain a Service set weight: 0",
        lambda server: server.service is None or server.admin_state is AdminState.ENABLED,
        ".adminState",
    ),
)
