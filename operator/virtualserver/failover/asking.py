"""Asks for failovers by ``status.failoverRequest`` and waits for the answer in ``status.lastFailover``.

A request is taken back when the command ends, also after Ctrl-C: one that stood would be done some day later.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from virtualserver.api.directorgroup import DirectorGroupSpec
from virtualserver.api.enums import GroupRole
from virtualserver.api.failover import FailoverRequest
from virtualserver.cluster.errors import ApiError, Conflict, NotFound, Unreachable
from virtualserver.cluster.resources import DIRECTOR_GROUPS, Resource
from virtualserver.cluster.status import utc_now
from virtualserver.failover.choice import Done, FailedError, RefusedError, answer, comes_back, in_step, target
from virtualserver.plan.groupseen import Director, GroupSeen, group_seen
from virtualserver.plan.world import Json, ObjectKey

MANAGER = "virtualserver-failover"

EVERY = 0.2
"""Seconds between two looks at the status."""
TRIES = 10
"""To take a request back while others write the status."""


class Asked(Protocol):
    """What is asked of an API server."""

    async def read(self, resource: Resource, key: ObjectKey, /) -> dict[str, Any]:
        """Return one object as it is now."""
        ...

    async def patch_status(
        self, resource: Resource, key: ObjectKey, body: Json, field_manager: str, /
    ) -> dict[str, Any]:
        """Merge-patch ``/status``; raises Conflict when the object is not as ``metadata.resourceVersion`` says."""
        ...


@dataclass(frozen=True)
class Asking:
    """One group, and who wants to hear how it goes."""

    api: Asked
    group: str
    timeout: float
    say: Callable[[str], object]

    async def failover(self, to: str | None, reason: str, *, let_go_first: bool | None = None) -> Done | None:
        """Make another director active; None when ``to`` is already. Raises RefusedError, FailedError, ApiError.

        ``let_go_first``: the active one lets go before, and how long nobody holds the addresses is measured.
        """
        seen = await self.look()
        chosen = target(self.group, seen, to)
        if chosen is None:
            return None
        asked = FailoverRequest(
            id=secrets.token_hex(8), to=to, reason=reason, let_go_first=let_go_first, requested=utc_now()
        )
        async with self._standing(asked):
            self.say(f"asked {seen.active} to hand over to {to or 'a standby'}: {reason}")
            try:
                done = await self._answered(asked.id)
            except (ApiError, RefusedError) as error:
                raise FailedError(f"what became of it is not known: {error}") from error
        if to is not None and done.node != to:
            raise FailedError(f"{to} was asked for, but {done.line}")
        if await self._preempts() and comes_back(seen, done):
            self.say(
                f"{done.before} takes the addresses back as soon as it can (spec.vrrp.preempt); "
                f"`kubectl cordon {done.before}` keeps them away"
            )
        return done

    async def drill(self, times: int, force: bool) -> AsyncIterator[Done]:
        """Fail over there and back; yields each. Raises as ``failover``."""
        seen = await self.look()
        home, away = seen.active, target(self.group, seen, None)
        assert home is not None
        assert away is not None
        if await self._preempts():
            raise RefusedError(
                "spec.vrrp.preempt: the more preferred director would take the addresses back by itself; "
                "a drill needs preempt to be false"
            )
        if not (force or in_step(away)):
            raise RefusedError(
                f"{away.node} lacks connections of {home} (mirror: {away.mirror}), so they would be lost; "
                "--force does it all the same"
            )
        for number in range(2 * times):
            to = home if number % 2 else away.node
            await self._ready(to, force)
            done = await self.failover(to, "drill", let_go_first=True)
            if done is None:
                raise FailedError(f"{to} became active without being asked; the drill ends")
            yield done

    async def look(self) -> GroupSeen:
        """Return the group's status; raises RefusedError when there is no such group."""
        return group_seen((await self._read()).get("status") or {})

    async def spec(self) -> DirectorGroupSpec:
        """Return what is wanted of the group; raises RefusedError, ApiError, ValidationError."""
        return DirectorGroupSpec.model_validate((await self._read())["spec"])

    async def _preempts(self) -> bool:
        """Tell whether a more preferred director takes over by itself; False where the spec cannot be read."""
        with contextlib.suppress(ApiError, RefusedError, ValidationError):
            return (await self.spec()).vrrp.preempt
        return False

    async def _read(self) -> Json:
        try:
            return await self.api.read(DIRECTOR_GROUPS, self._key)
        except NotFound as error:
            raise RefusedError(f"there is no DirectorGroup {self.group!r}") from error

    @property
    def _key(self) -> ObjectKey:
        return ObjectKey("", self.group)

    @contextlib.asynccontextmanager
    async def _standing(self, asked: FailoverRequest) -> AsyncIterator[None]:
        """Let a request stand while the context lasts.

        By merge patches: server-side apply would leave parts of one that somebody has written by ``kubectl patch``.
        """
        whole = asked.model_dump(mode="json", by_alias=True)  # null for what must not stay of another one
        try:
            await self._write({"status": {"failoverRequest": whole}})
            yield
        finally:
            await asyncio.shield(self._withdraw(asked.id))

    async def _withdraw(self, request: str) -> None:
        """Take a request back, unless another one stands in its place."""
        why: object = "the status changed each time"
        try:
            for _ in range(TRIES):
                if await self._withdrawn(request):
                    return
        except (ApiError, RefusedError) as error:
            why = error
        self.say(f"could not take the request {request} back, it may still be done: {why}")

    async def _withdrawn(self, request: str) -> bool:
        """Remove a request from the status that was read; return False when somebody has written that meanwhile."""
        found = await self._read()
        if group_seen(found.get("status") or {}).request != request:
            return True
        version = {"resourceVersion": found["metadata"].get("resourceVersion")}
        try:
            await self._write({"metadata": version, "status": {"failoverRequest": None}})
        except Conflict:  # directors report all the time
            return False
        return True

    async def _write(self, body: Json) -> None:
        await self.api.patch_status(DIRECTOR_GROUPS, self._key, body, MANAGER)

    async def _answered(self, request: str) -> Done:
        told: set[str] = set()
        seen = GroupSeen(request=request)
        async for seen in self._looks():
            done = answer(seen, request)
            if done is not None:
                return done
            if seen.request != request:
                raise FailedError("another request has taken the place of this one")
            for one in seen.directors:
                if one.caught_up == request and one.node not in told:
                    told.add(one.node)
                    self.say(f"{one.node} is ready to take over")
        others = [one.why for one in seen.directors if one.node != seen.active]
        raise FailedError(
            f"not done within {self.timeout:g} s; {'; '.join(others) or 'no other director has reported'}"
        )

    async def _ready(self, node: str, force: bool) -> None:
        """Wait until a director can take over; one that has just yielded needs a moment for it."""
        last, told = Director(node, "not known"), False
        async for seen in self._looks():
            last = next((one for one in seen.directors if one.node == node), last)
            if last.role == GroupRole.STANDBY and (force or in_step(last)):
                return
            if not told:
                told = True
                self.say(f"waiting until {node} is ready to take over")
        raise FailedError(f"{node} is not ready within {self.timeout:g} s: {last.why}, mirror: {last.mirror or 'none'}")

    async def _looks(self) -> AsyncIterator[GroupSeen]:
        """Yield the status again and again until the time is over; an API server that is away is waited for."""
        clock = asyncio.get_running_loop().time
        until = clock() + self.timeout
        while clock() < until:
            try:
                seen = await self.look()
            except Unreachable:
                pass
            else:
                yield seen
            await asyncio.sleep(EVERY)
