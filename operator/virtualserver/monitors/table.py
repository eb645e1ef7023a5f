"""Which monitor answers for which type. A new type is one file, one member of ``MonitorType``, one line here."""

from __future__ import annotations

from collections.abc import Mapping

from virtualserver.api.enums import MonitorType
from virtualserver.monitors.port import Monitor
from virtualserver.monitors.tcp import TcpMonitor

MONITORS: Mapping[str, Monitor] = {MonitorType.TCP: TcpMonitor()}
