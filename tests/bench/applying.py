"""Runs in the active director: `python -m bench.applying KUBECONFIG AUTHORITY NAME VIP CHANGES`; one JSON line.

It changes the scheduler of a VirtualServer through the API server and asks the kernel for that one virtual service
every few milliseconds until it has changed: one program, one clock. The time runs from before the request is sent.
"""

import http.client
import json
import ssl
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from bench.looking import Looker
from virtualserver.model.types import Protocol, ServiceKey

PATIENCE = 30.0
PAUSE = 0.002
"""Between looks, so that the agent, on the same processor, is not held up by being watched."""
REST = 0.25
"""Between changes, so that each meets an agent at rest."""


class Patcher:
    """Merge patches over one connection that stays open, as a person's client or a controller has."""

    def __init__(self, kubeconfig: Path, authority: Path, path: str) -> None:
        loaded = json.loads(kubeconfig.read_text())
        address = urlsplit(loaded["clusters"][0]["cluster"]["server"])
        context = ssl.create_default_context(cafile=str(authority))
        self._connection = http.client.HTTPSConnection(
            address.hostname or "", address.port, timeout=PATIENCE, context=context
        )
        token = loaded["users"][0]["user"]["token"]
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json"}
        self._path = path

    def set_scheduler(self, name: str) -> None:
        body = json.dumps({"spec": {"scheduler": {"name": name}}})
        self._connection.request("PATCH", self._path, body, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"PATCH {self._path}: {answer.status} {text[:300]!r}")


def main() -> None:
    kubeconfig, authority, name, vip, changes = sys.argv[1:6]
    path = f"/apis/virtualserver.dev/v1alpha1/namespaces/default/virtualservers/{name}"
    patcher = Patcher(Path(kubeconfig), Path(authority), path)
    looker = Looker(ServiceKey(Protocol.TCP, ip_address(vip), 80))
    samples: list[dict[str, float]] = []
    for number in range(int(changes)):
        samples.append(_change(patcher, looker, ("wrr", "rr")[number % 2]))
        time.sleep(REST)
    print("\n" + json.dumps(samples), flush=True)


def _change(patcher: Patcher, looker: Looker, scheduler: str) -> dict[str, float]:
    """Seconds until the API server had answered, until the kernel had it, and the longest time without a look."""
    if looker.scheduler() == scheduler:
        raise SystemExit(f"the scheduler is {scheduler} before it was asked for")
    began = last = time.monotonic()
    patcher.set_scheduler(scheduler)
    answered = time.monotonic()
    gap = 0.0
    while True:
        seen = looker.scheduler() == scheduler
        now = time.monotonic()
        if last > began:
            gap = max(gap, now - last)
        last = now
        if seen:
            return {"answered": answered - began, "total": now - began, "gap": gap}
        if now - began > PATIENCE:
            raise SystemExit(f"{scheduler} was not in the kernel {PATIENCE:g} s after the request")
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
