"""The administrator's side of a lab's API server: kubectl, plain requests, credentials for others, the audit log."""

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from lab import assets, kubeconfig, processes
from lab.console import LabError


class ApiClient:
    """Everything that needs a running server but does not run it."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder = folder
        self.base = base

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def authority(self) -> Path:
        return self.folder / "pki" / "ca.crt"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's (group system:masters)."""
        return self.base / "kubeconfig"

    def kubectl(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002 - as subprocess.run calls it
        check: bool = True,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator. Its cache stays in our folder, not in the person's home."""
        done = subprocess.run(
            self.kubectl_command(*arguments),
            input=input,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=processes.environment(self.base),
        )
        if check and done.returncode != 0:
            raise LabError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def request(self, method: str, path: str, body: object = None, timeout: float = 20) -> Any:
        """One request as the administrator, without the cost of starting kubectl; a PATCH is a merge patch.

        Returns the decoded answer; text that is not JSON comes as it is. LabError on a status of 400 and more.
        """
        user = json.loads(self.kubeconfig.read_text())["users"][0]["user"]
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {user['token']}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        context = ssl.create_default_context(cafile=str(self.authority))
        try:
            with urllib.request.urlopen(request, context=context, timeout=timeout) as response:
                text = response.read().decode()
        except urllib.error.HTTPError as error:
            raise LabError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')[:500]}") from error
        try:
            return json.loads(text)
        except ValueError:
            return text

    def kubectl_command(self, *arguments: str) -> list[str]:
        cache = self.folder / "kubectl-cache"
        program = str(assets.find("kubectl"))
        return [program, f"--kubeconfig={self.kubeconfig}", f"--cache-dir={cache}", *arguments]

    def account_kubeconfig(self, path: Path, namespace: str, account: str, node: str | None = None) -> Path:
        """Credentials of a service account from the TokenRequest API; bound to a Node as a kubelet's pod would be."""
        bound = ["--bound-object-kind=Node", f"--bound-object-name={node}"] if node else []
        token = self.kubectl("create", "token", account, "-n", namespace, "--duration=8760h", *bound).stdout.strip()
        return kubeconfig.write(path, self.url, self.authority, account, token)

    def audit_mark(self) -> int:
        """A position in the audit log, for `audit(since=...)`."""
        log = self.folder / "audit.log"
        return log.stat().st_size if log.exists() else 0

    def audit(self, since: int = 0, user: str | None = None) -> list[dict[str, Any]]:
        """Audit events (writes, and everything on virtualserver.dev) after a mark, of one user if named."""
        log = self.folder / "audit.log"
        if not log.exists():
            return []
        with log.open("rb") as file:
            file.seek(since)
            complete = file.read().split(b"\n")[:-1]
        events: list[dict[str, Any]] = [json.loads(line) for line in complete]
        return [event for event in events if user is None or event["user"]["username"] == user]
