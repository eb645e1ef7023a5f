"""A client that runs on a host of the lab: exchanges with an echo service, each from a socket of its own.

    probe.py COUNT PROTOCOL ADDRESS PORT [PROTOCOL ADDRESS PORT ...]

Prints one line of JSON for each target: how many answers came, from which address, and what went wrong first.
"""

from __future__ import annotations

import json
import socket
import sys

TIMEOUT = 3.0
"""Seconds for one step of an exchange."""
KINDS = {"TCP": (socket.SOCK_STREAM, 6), "UDP": (socket.SOCK_DGRAM, 17), "SCTP": (socket.SOCK_STREAM, 132)}


def exchange(protocol: str, address: str, port: int, payload: bytes) -> None:
    kind, number = KINDS[protocol]
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind, number) as link:
        link.settimeout(TIMEOUT)
        link.connect((address, port))
        link.send(payload)
        answer = b""
        while len(answer) < len(payload):
            part = link.recv(65536)
            if not part:
                break
            answer += part
    if answer != payload:
        raise ValueError(f"got {answer[:40]!r}")


def main(count: int, targets: list[str]) -> None:
    for start in range(0, len(targets), 3):
        protocol, address, port = targets[start : start + 3]
        answers, first = 0, ""
        for serial in range(count):
            try:
                exchange(protocol, address, int(port), f"{protocol} {serial}".encode())
                answers += 1
            except (OSError, ValueError) as error:
                first = first or f"{type(error).__name__}: {error}"
        print(json.dumps({"answers": answers, "problem": first}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
