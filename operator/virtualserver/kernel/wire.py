"""Numbers of the IPVS generic netlink family, version 1 (``include/uapi/linux/ip_vs.h``); nothing else."""

from __future__ import annotations

import socket

from virtualserver.model.types import Protocol

FAMILY_NAME = "IPVS"
VERSION = 1

CMD_NEW_SERVICE = 1
CMD_SET_SERVICE = 2
CMD_DEL_SERVICE = 3
CMD_GET_SERVICE = 4
CMD_NEW_DEST = 5
CMD_SET_DEST = 6
CMD_DEL_DEST = 7
CMD_GET_DEST = 8
CMD_NEW_DAEMON = 9
CMD_DEL_DAEMON = 10
CMD_GET_DAEMON = 11
CMD_GET_INFO = 15

ATTR_SERVICE = 1
ATTR_DEST = 2
ATTR_DAEMON = 3

SVC_AF = 1
SVC_PROTOCOL = 2
SVC_ADDR = 3
SVC_PORT = 4
SVC_FWMARK = 5
SVC_SCHED_NAME = 6
SVC_FLAGS = 7
SVC_TIMEOUT = 8
SVC_NETMASK = 9
SVC_PE_NAME = 11

DEST_ADDR = 1
DEST_PORT = 2
DEST_FWD_METHOD = 3
DEST_WEIGHT = 4
DEST_U_THRESH = 5
DEST_L_THRESH = 6
DEST_ACTIVE_CONNS = 7
DEST_ADDR_FAMILY = 11
DEST_TUN_TYPE = 13
DEST_TUN_PORT = 14
DEST_TUN_FLAGS = 15

DAEMON_STATE = 1
DAEMON_MCAST_IFN = 2
DAEMON_SYNC_ID = 3
DAEMON_SYNC_MAXLEN = 4
DAEMON_MCAST_GROUP = 5
DAEMON_MCAST_GROUP6 = 6
DAEMON_MCAST_PORT = 7
DAEMON_MCAST_TTL = 8

STATE_MASTER = 1
STATE_BACKUP = 2

INFO_VERSION = 1
INFO_CONN_TAB_SIZE = 2

SVC_F_PERSISTENT = 0x1
SVC_F_HASHED = 0x2
"""The kernel's own mark, never asked for and never shown: with it in a content no diff would ever settle."""
SVC_F_ONEPACKET = 0x4
SVC_F_SCHEDULER = 0x18
"""The two bits that belong to the scheduler (``IP_VS_SVC_F_SCHED1``, ``SCHED2``)."""

TUNNEL_F_CSUM = 0x1
TUNNEL_F_REMCSUM = 0x2

PROTOCOL_NUMBERS: dict[Protocol, int] = {
    Protocol.TCP: socket.IPPROTO_TCP,
    Protocol.UDP: socket.IPPROTO_UDP,
    Protocol.SCTP: 132,  # socket.IPPROTO_SCTP is missing where Python was built without its header
}
PROTOCOLS: dict[int, Protocol] = {number: protocol for protocol, number in PROTOCOL_NUMBERS.items()}
