"""Run commands in the lab's hosts, from the machine: the client side of guest/server.py."""

import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.console import LabError

Command = str | list[str]
"""A string goes to `sh -c`, a list is started as it is."""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


class CommandError(LabError):
    """A command in a host ended with a code other than 0."""

    def __init__(self, command: Command, host: str, result: Result) -> None:
        words = (result.err.strip() or result.out.strip())[-2000:]
        super().__init__(f"`{command}` on {host} ended with code {result.code}: {words}")
        self.result = result


class CommandTimeoutError(LabError):
    """A command in a host did not end in time and was killed; `result` has what it wrote until then."""

    def __init__(self, command: Command, host: str, seconds: float, result: Result) -> None:
        super().__init__(f"`{command}` on {host} was killed after {seconds:g} s: {(result.out + result.err)[-500:]}")
        self.result = result


@dataclass(frozen=True)
class Door:
    """How to reach one guest's command server."""

    address: str
    port: int
    token: str

    def call(self, operation: str, patience: float, /, **fields: Any) -> Any:
        """One request with one answer."""
        for kind, payload in self.frames(operation, patience, **fields):
            if kind == "r":
                return json.loads(payload)
        raise LabError(f"the guest at {self.address} hung up")

    def frames(self, operation: str, patience: float | None, /, **fields: Any) -> Iterator[tuple[str, bytes]]:
        """Send a request, yield what comes back; closing the generator ends the command in the guest."""
        line = json.dumps({"token": self.token, "operation": operation, **fields}).encode() + b"\n"
        try:
            with socket.create_connection((self.address, self.port), timeout=min(patience or 5, 5)) as connection:
                connection.settimeout(patience)
                _notice_death(connection)
                connection.sendall(line)
                with connection.makefile("rb") as stream:
                    while header := stream.readline():
                        kind, length = header.decode().split()
                        payload = stream.read(int(length))
                        if kind == "f":
                            raise LabError(payload.decode(errors="replace"))
                        yield kind, payload
        except OSError as error:
            raise LabError(f"the guest at {self.address} does not answer ({error}); is it up?") from error


class Host:
    """A network namespace of a guest, or with the name "" the guest's root namespace."""

    def __init__(self, name: str, door: Door, logs: Path) -> None:
        self.name = name
        self.door = door
        self.logs = logs

    def run(
        self, command: Command, timeout: float = 30, check: bool = True, env: dict[str, str] | None = None
    ) -> Result:
        """Run to the end, return what it wrote; CommandError on a code other than 0 unless `check=False`."""
        parts: dict[str, list[bytes]] = {"o": [], "e": []}
        answer = {"code": -1, "timeout": False}
        fields = {"host": self.name, "command": _words(command), "env": env or {}, "seconds": timeout}
        for kind, payload in self.door.frames("run", timeout + 10, **fields):
            if kind == "r":
                answer = json.loads(payload)
            else:
                parts[kind].append(payload)
        out, err = (b"".join(parts[kind]).decode(errors="replace") for kind in "oe")
        result = Result(int(answer["code"]), out, err)
        if answer["timeout"]:
            raise CommandTimeoutError(command, self.name, timeout, result)
        if check and result.code != 0:
            raise CommandError(command, self.name, result)
        return result

    def stream(self, command: Command, timeout: float | None = None) -> int:
        """Run with our own stdout and stderr, for people; Ctrl-C here ends the command there."""
        streams = {"o": sys.stdout.buffer, "e": sys.stderr.buffer}
        fields: dict[str, Any] = {"host": self.name, "command": _words(command), "env": {}, "seconds": timeout}
        for kind, payload in self.door.frames("run", None, **fields):
            if kind == "r":
                answer = json.loads(payload)
                return 124 if answer["timeout"] else int(answer["code"])
            streams[kind].write(payload)
            streams[kind].flush()
        return 255

    def spawn(self, command: Command, name: str, env: dict[str, str] | None = None) -> "Process":
        """Start in the background; output is appended to a log file in the lab's folder."""
        log = self.logs / f"{name}.log"
        fields = {"host": self.name, "command": _words(command), "env": env or {}, "name": name, "log": str(log)}
        return Process(self.door, name, self.door.call("spawn", 20, **fields)["pid"], log)

    def processes(self) -> list["Process"]:
        """What was spawned here and still runs."""
        listed = self.door.call("list", 20)
        mine = [entry for entry in listed if entry["host"] == self.name and entry["code"] is None]
        return [Process(self.door, entry["name"], entry["pid"], Path(entry["log"])) for entry in mine]


@dataclass(frozen=True)
class Process:
    """A background process in a guest; `pid` is the guest's."""

    door: Door
    name: str
    pid: int
    log: Path

    @property
    def running(self) -> bool:
        return self.wait(0) is None

    def signal(self, number: int) -> None:
        """To the process and its children; SIGSTOP and SIGKILL included."""
        self.door.call("signal", 20, pid=self.pid, number=int(number))

    def wait(self, timeout: float = 30) -> int | None:
        """Its exit code (negative: ended by that signal), None when it still runs after that time."""
        code: int | None = self.door.call("wait", timeout + 20, pid=self.pid, seconds=timeout)["code"]
        return code


def _notice_death(connection: socket.socket) -> None:
    """A guest that was killed says nothing any more: ask its kernel, and take 10 s of silence for its end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 4), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _words(command: Command) -> list[str]:
    return ["sh", "-c", "--", command] if isinstance(command, str) else command
