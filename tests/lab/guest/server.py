"""The guest's ear: runs commands in the guest's hosts for clients on the machine.

Runs inside the guest, as a plain script with nothing but the standard library (every import costs). A client
connects, sends one line of JSON and reads frames, `<kind> <length>\\n<payload>`:

    o, e   what the command wrote to stdout and stderr
    r      the result, JSON; always last
    f      the request failed, a message; always last

When the client goes away, the command it waits for is killed with its whole group. Spawned processes stay.
"""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Spawned:
    """A process that outlives its request."""

    name: str
    host: str
    log: str
    process: asyncio.subprocess.Process

    def describe(self) -> dict[str, Any]:
        code = self.process.returncode
        return {"pid": self.process.pid, "name": self.name, "host": self.host, "log": self.log, "code": code}


class Server:
    """One per guest. Everything that a request may ask is a method named `do_<operation>`."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.spawned: dict[int, Spawned] = {}

    async def serve(self) -> None:
        address, port = self.settings["address"], self.settings["port"]
        server = await asyncio.start_server(self.handle, address, port)
        print(f"listening on {address}:{port}", flush=True)
        await server.serve_forever()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await asyncio.wait_for(reader.readline(), 10))
            if request.pop("token", None) != self.settings["token"]:
                raise ValueError("wrong token")
            operation = request.pop("operation")
            if operation == "run":
                result = await self.run(reader, writer, **request)
            else:
                result = await getattr(self, f"do_{operation}")(**request)
            frame(writer, "r", json.dumps(result).encode())
        except ConnectionError:
            pass
        except Exception as error:  # whatever it is, the client has to hear of it, and the next request works
            frame(writer, "f", f"{type(error).__name__}: {error}".encode())
        finally:
            writer.close()

    async def run(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        host: str,
        command: list[str],
        env: dict[str, str],
        seconds: float | None,
    ) -> dict[str, Any]:
        """Stream a command's output until it ends, its time is over or the client is gone."""
        process = await self.start(host, command, env, PIPE, PIPE)
        pumps = [
            asyncio.create_task(pump(source, writer, kind))
            for source, kind in ((process.stdout, "o"), (process.stderr, "e"))
            if source is not None
        ]
        gone = asyncio.create_task(reader.read(1))
        ended = asyncio.create_task(process.wait())
        done, _ = await asyncio.wait({gone, ended}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if ended not in done:
            await end_group(process)
        # what the command left in the background may hold its pipes open for ever
        await asyncio.wait(pumps, timeout=0.5)
        for task in [gone, *pumps]:
            task.cancel()
        return {"code": await ended, "timeout": not done}

    async def do_ping(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "time": time.time()}

    async def do_spawn(self, host: str, command: list[str], env: dict[str, str], name: str, log: str) -> dict[str, Any]:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            process = await self.start(host, command, env, output, output)
        finally:
            os.close(output)
        self.spawned[process.pid] = Spawned(name, host, log, process)
        return self.spawned[process.pid].describe()

    async def do_list(self) -> list[dict[str, Any]]:
        return [spawned.describe() for spawned in self.spawned.values()]

    async def do_signal(self, pid: int, number: int) -> dict[str, Any]:
        spawned = self.spawned[pid]
        if spawned.process.returncode is None:
            os.killpg(pid, number)
        return spawned.describe()

    async def do_wait(self, pid: int, seconds: float) -> dict[str, Any]:
        await asyncio.wait([asyncio.create_task(self.spawned[pid].process.wait())], timeout=seconds)
        return self.spawned[pid].describe()

    async def start(
        self, host: str, command: list[str], env: dict[str, str], out: int, err: int
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *enter(host),
            *command,
            stdin=DEVNULL,
            stdout=out,
            stderr=err,
            env={**self.settings["env"], "LAB_HOST": host, **env},
            cwd="/",
            start_new_session=True,
        )


def enter(host: str) -> list[str]:
    """The words that start a command in a host's network namespace; "" is the guest's root namespace."""
    if not host:
        return []
    if not Path(f"/run/netns/{host}").exists():
        raise ValueError(f"no host or namespace `{host}` in this guest")
    return ["/sbin/ip", "netns", "exec", host]


async def pump(source: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str) -> None:
    while data := await source.read(65536):
        frame(writer, kind, data)
        await writer.drain()


def frame(writer: asyncio.StreamWriter, kind: str, payload: bytes) -> None:
    writer.write(b"%s %d\n%s" % (kind.encode(), len(payload), payload))


async def end_group(process: asyncio.subprocess.Process) -> None:
    """Politely first: tcpdump flushes what it has on SIGTERM."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            await asyncio.wait_for(process.wait(), 1)
        except TimeoutError:
            continue
        except ProcessLookupError:
            return


if __name__ == "__main__":
    if sys.version_info < (3, 12):  # the default there: no thread per child
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
    asyncio.run(Server(json.loads(Path(sys.argv[1]).read_text())).serve())
