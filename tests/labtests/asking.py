"""Runs on a host of the lab: asks every service of the real servers named as arguments, prints the answers as JSON."""

from __future__ import annotations

import json
import socket
import sys
import urllib.request


def http(address: str, port: int) -> str:
    shown = f"[{address}]" if ":" in address else address
    with urllib.request.urlopen(f"http://{shown}:{port}/", timeout=5) as answer:
        return str(answer.read().decode().strip())


def echo(address: str, kind: socket.SocketKind) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as asking:
        asking.settimeout(5)
        asking.connect((address, 7))
        asking.send(b"a word")
        return asking.recv(100).decode()


def ask(address: str) -> dict[str, str]:
    return {
        "80": http(address, 80),
        "8080": http(address, 8080),
        "tcp 7": echo(address, socket.SOCK_STREAM),
        "udp 7": echo(address, socket.SOCK_DGRAM),
    }


if __name__ == "__main__":
    print(json.dumps({address: ask(address) for address in sys.argv[1:]}))
