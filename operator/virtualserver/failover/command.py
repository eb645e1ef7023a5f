"""The commands themselves: what is printed, and the exit codes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys

from pydantic import ValidationError

from virtualserver.cluster.client import Api
from virtualserver.cluster.credentials import load_for_a_person
from virtualserver.cluster.errors import ApiError, CredentialsError
from virtualserver.failover.asking import Asked, Asking
from virtualserver.failover.choice import Done, FailedError, RefusedError, noticed, table

DONE, REFUSED, FAILED, INTERRUPTED = 0, 1, 3, 130


def main(given: argparse.Namespace) -> int:
    """Run a command with the caller's credentials; returns the exit code."""
    logging.getLogger("virtualserver").addHandler(logging.NullHandler())  # what matters is printed below
    try:
        return asyncio.run(_with_credentials(given))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


async def _with_credentials(given: argparse.Namespace) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # as Ctrl-C: the request goes
    api = Api(load_for_a_person)
    try:
        await api.open()
        return await run(given, api)
    except CredentialsError as error:
        return _failed(given, REFUSED, str(error))
    finally:
        await api.close()


async def run(given: argparse.Namespace, api: Asked) -> int:
    """Run a command; returns the exit code."""
    asking = Asking(api, given.group, given.timeout, lambda line: print(line, flush=True))
    try:
        await (_drill(asking, given) if given.command == "drill" else _failover(asking, given))
    except RefusedError as error:
        return _failed(given, REFUSED, str(error))
    except FailedError as error:
        return _failed(given, FAILED, str(error))
    except ApiError as error:
        hint = "; the ClusterRole virtualserver-operator has the rights" if error.status == 403 else ""
        return _failed(given, REFUSED, f"{error}{hint}")
    return DONE


async def _failover(asking: Asking, given: argparse.Namespace) -> None:
    done = await asking.failover(given.to, given.reason)
    print(done.line if done else f"{given.to} is active already")


async def _drill(asking: Asking, given: argparse.Namespace) -> None:
    measured: list[Done] = []
    try:
        async for done in asking.drill(given.times, given.force):
            print(done.line, flush=True)
            measured.append(done)
    finally:
        if measured:
            print("", *table(measured), sep="\n")
            with contextlib.suppress(ApiError, RefusedError, ValidationError):
                print(noticed(await asking.spec()))


def _failed(given: argparse.Namespace, code: int, message: str) -> int:
    print(f"virtualserver {given.command}: {message}", file=sys.stderr)
    return code
