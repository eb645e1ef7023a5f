"""An API server with our definitions, and the one question the tests ask it: would you take this?"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab import ApiServer
from lab.console import wait_until

CHECKOUT = Path(__file__).resolve().parents[3]
PLURALS = {"VirtualServer": "virtualservers", "DirectorGroup": "directorgroups"}


@dataclass(frozen=True)
class Answer:
    """What the server said: the object as it would be stored, or why not."""

    status: int
    body: dict[str, Any]

    @property
    def taken(self) -> bool:
        return self.status < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))

    @property
    def complaints(self) -> list[tuple[str, str]]:
        """Field and message of each; the server's remark that it looked no further is none."""
        causes = self.body.get("details", {}).get("causes", [])
        return [(cause["field"], cause["message"]) for cause in causes if cause["field"] != "<nil>"]


class Admission:
    """Asks over one connection; nothing is ever stored."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        address = urlsplit(api.url)
        context = ssl.create_default_context(cafile=str(api.authority))
        self._connection = http.client.HTTPSConnection(address.netloc, context=context, timeout=30)
        token = json.loads(api.kubeconfig.read_text())["users"][0]["user"]["token"]
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(self, manifest: dict[str, Any]) -> Answer:
        """Send a creation as a strict dry run, as ``kubectl apply --dry-run=server`` does."""
        where = f"namespaces/{manifest['metadata']['namespace']}/" if "namespace" in manifest["metadata"] else ""
        path = f"/apis/{manifest['apiVersion']}/{where}{PLURALS[manifest['kind']]}?dryRun=All&fieldValidation=Strict"
        self._connection.request("POST", path, json.dumps(manifest), self._headers)
        response = self._connection.getresponse()
        return Answer(response.status, json.loads(response.read()))

    def close(self) -> None:
        self._connection.close()


@contextmanager
def admission(folder: Path) -> Iterator[Admission]:
    """Start a server of our own, install ``crds/``, and wait until it serves them and can explain them."""
    with ApiServer(folder) as api:
        api.kubectl("apply", "--server-side", "-f", str(CHECKOUT / "crds"))
        api.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(CHECKOUT / "crds"))
        for _ in wait_until(30):  # what is established is listed a moment later
            if all(api.kubectl("explain", name, check=False).returncode == 0 for name in PLURALS.values()):
                break
        made = Admission(api)
        try:
            yield made
        finally:
            made.close()
