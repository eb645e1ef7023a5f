"""What connections use, read from tables as the kernel writes them (taken from a 6.1 of a little-endian machine)."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from virtualserver.kernel.port import KernelError
from virtualserver.kernel.usage import held, usage
from virtualserver.model.types import DestinationKey, Protocol, ServiceKey
from virtualserver.model.usage import Usage

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
REST = "00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n"
TCP = f"""{HEAD}   0: 00000000:0007 00000000:0000 0A {REST}   1: 640012C6:0007 020012C6:A62A 01 {REST}\
   2: 650012C6:0007 020012C6:A62A 06 {REST}   3: 660012C6:0007 020012C6:A62A 08 {REST}"""
TCP6 = f"""{HEAD}   0: 0000000000000000FFFF0000670012C6:0007 0000000000000000FFFF0000020012C6:A62A 01 {REST}\
   1: 180000FD000000000000000000010000:0007 180000FD000000000000000002000000:A62A 03 {REST}"""
IP_VS = """IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
FWM  00000001 rr
  -> C6120021:0007      Tunnel  1      9          0
TCP  C6120064:0007 rr
  -> C6120020:0000      Route   1      0          3
  -> C612001F:0007      Tunnel  0      5          0
UDP  [fd00:0018:0000:0000:0000:0000:0000:0100]:0035 rr
  -> [fd00:0018:0000:0000:0000:0000:0000:0031]:0035      Masq    1      1          0
"""
DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
vs-1d36f77b3bbf:  5400     90    0    0    0     0          0         0        0       0    0    0    0     0       0          0
"""  # noqa: E501 - as the kernel prints it
ASSOCS = """ ASSOC     SOCK   STY SST ST HBKT ASSOC-ID TX_QUEUE RX_QUEUE UID INODE LPORT RPORT LADDRS <-> RADDRS HBINT
 1 2 2 1 3 60 1 0 0 0 9 7 4000 *198.18.0.104 fd00:18::104 <-> *198.18.0.2 30000
"""


def test_what_has_connections_is_used_and_what_only_listens_or_has_ended_is_not(tmp_path: Path) -> None:
    (tmp_path / "sctp").mkdir()
    for name, text in {"tcp": TCP, "tcp6": TCP6, "ip_vs": IP_VS, "dev": DEV, "sctp/assocs": ASSOCS}.items():
        (tmp_path / name).write_text(text)
    near = ("198.18.0.100", "198.18.0.102", "198.18.0.103", "fd00:18::100", "198.18.0.104", "fd00:18::104")
    four, six = ip_address("198.18.0.100"), ip_address("fd00:18::100")
    assert usage(tmp_path) == Usage(
        frozenset(map(ip_address, near)),
        frozenset(
            {
                (ServiceKey(Protocol.TCP, four, 7), DestinationKey(ip_address("198.18.0.31"), 7)),
                (ServiceKey(Protocol.UDP, six, 53), DestinationKey(ip_address("fd00:18::31"), 53)),
            }
        ),
        {"lo": 0, "vs-1d36f77b3bbf": 90},
    )


def test_tables_of_modules_that_are_not_loaded_are_empty(tmp_path: Path) -> None:
    assert usage(tmp_path) == Usage()


def test_a_table_that_cannot_be_understood_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "ip_vs").write_text(IP_VS.replace("C6120064", "nonsense"))
    with pytest.raises(KernelError, match="cannot read"):
        usage(tmp_path)


def test_connections_of_each_service_are_added_up(tmp_path: Path) -> None:
    (tmp_path / "ip_vs").write_text(IP_VS)
    assert held(tmp_path) == {
        ServiceKey(Protocol.TCP, ip_address("198.18.0.100"), 7): (5, 3),
        ServiceKey(Protocol.UDP, ip_address("fd00:18::100"), 53): (1, 0),
    }
    assert held(tmp_path / "none") == {}
    (tmp_path / "ip_vs").write_text(IP_VS.replace("C6120020:0000", "C6120020"))
    with pytest.raises(KernelError):
        held(tmp_path)
