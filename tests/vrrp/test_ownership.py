"""What an agent's event loop hears and sees of a real election."""

from __future__ import annotations

import asyncio
import socket
import time
from ipaddress import ip_address
from pathlib import Path

import pytest

from failover import forge
from virtualserver.kernel.ownership import Ownership
from virtualserver.model.failover import Heard, Instance, Router
from virtualserver.model.operations import Allow, ConfigureInstances, Forbid
from vrrp.directors import GROUP, ROUTER, TOKEN, VIP, Director, eventually, history, segment


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("unicast", [False, True])
def test_a_take_over_is_seen_at_once_and_the_silence_before_it_is_known(
    tmp_path: Path, version: int, unicast: bool
) -> None:
    with segment(tmp_path) as [active, standby]:
        ends = [
            ip_address(f"198.18.0.{one.number}" if version == 4 else f"fd00:18::{one.number}")
            for one in (active, standby)
        ]
        for one, source, peer in zip((active, standby), ends, reversed(ends), strict=True):
            more = {"source": source, "peers": (peer,)} if unicast else {}
            found = Instance(GROUP, ROUTER, "eth0", 100, 3, 250, version=version, addresses=VIP, **more)  # type: ignore[arg-type]  # keywords of several types
            one.instances = (found,)
            one.do(ConfigureInstances(one.instances))
            one.start()
            allow(one)
            eventually(active.holds)
        woken, heard, since = standby.call(lambda: asyncio.run(_watch(lambda: active.kill("vrrp"))))
        assert heard is not None
        assert since is not None
        assert heard.priority == 250
        assert unicast is False or heard.source == ends[0]
        assert not heard.continues
        print(f"silent for {since - heard.time:.3f} s, woken after {woken:.3f} s")
        assert 0.29 < since - heard.time < 0.4
        assert woken < 0.05


def test_the_own_advertisements_are_nobody_elses(tmp_path: Path) -> None:
    with segment(tmp_path, 1) as [only]:
        only.instances = (Instance(GROUP, ROUTER, "eth0", 100, 3, 250, addresses=VIP),)
        only.do(ConfigureInstances(only.instances))
        only.start()

        async def listen() -> tuple[Heard | None, float | None]:
            it = Ownership(lambda: None, on_eth0)
            it.start()
            await asyncio.to_thread(allow_from_outside, only)
            await asyncio.sleep(1.5)
            found = it.heard(ROUTER), it.held_since(ROUTER)
            it.close()
            return found

        heard, since = only.call(lambda: asyncio.run(listen()))
        assert heard is None
        assert since is not None


def test_a_director_that_yields_says_so(tmp_path: Path) -> None:
    with segment(tmp_path) as [active, standby]:
        for one in (active, standby):
            one.instances = (Instance(GROUP, ROUTER, "eth0", 100, 3, 250, addresses=VIP),)
            one.do(ConfigureInstances(one.instances))
            one.start()
            allow(one)
            eventually(active.holds)
        _, heard, since = standby.call(lambda: asyncio.run(_watch(lambda: active.do(Forbid(GROUP)))))
        assert heard is not None
        assert since is not None
        assert heard.priority == 0
        assert since - heard.time < 0.05


def test_two_that_were_both_active_while_parted_are_found_when_they_meet(tmp_path: Path) -> None:
    with segment(tmp_path) as [first, second]:
        for one in (first, second):
            one.instances = (Instance(GROUP, ROUTER, "eth0", 100, 3, 251 - one.number % 10, addresses=VIP),)
            one.do(ConfigureInstances(one.instances))
            one.start()
            allow(one)
            eventually(first.holds)

        async def watch() -> bool:
            found = asyncio.Event()
            it = Ownership(lambda: found.set() if it.rival(ROUTER) is not None else None, on_eth0)
            it.start()
            second.part()
            await asyncio.to_thread(eventually, second.holds)
            await asyncio.sleep(1)
            alone = not found.is_set()
            second.join()
            await asyncio.wait_for(found.wait(), 5)
            it.close()
            return alone

        assert first.call(lambda: asyncio.run(watch()))
        eventually(lambda: not second.holds(TOKEN))
        assert first.holds()


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_broken_is_heard_by_nobody(tmp_path: Path, version: int) -> None:
    """Truncated, or changed on its way; the same unbroken is heard, and heeded."""
    with segment(tmp_path, 3) as [active, standby, stranger]:
        found = Instance(GROUP, ROUTER, "eth0", 100, 3, 250, version=version, addresses=VIP)
        for one in (active, standby):
            one.instances = (found,)
            one.do(ConfigureInstances(one.instances))
            one.start()
            allow(one)
            eventually(active.holds)
        source, address = ends(stranger, version)
        whole = forge.advertisement(source, ROUTER, 254, 0.1, address)
        broken = [whole[:size] for size in range(len(whole))]
        broken += [
            bytes([*whole[:at], whole[at] ^ bit, *whole[at + 1 :]]) for at in range(len(whole)) for bit in (1, 64)
        ]

        async def listen() -> tuple[Heard | None, int]:
            it = Ownership(lambda: None, on_eth0)
            it.start()
            await asyncio.to_thread(stranger.call, lambda: _send(broken, version))
            await asyncio.sleep(0.5)
            before = it.heard(ROUTER), len(history([active, standby], TOKEN))
            await asyncio.to_thread(stranger.call, lambda: _send([whole], version))
            await asyncio.to_thread(eventually, lambda: it.heard(ROUTER) is not None)
            it.close()
            return before

        assert active.call(lambda: asyncio.run(listen())) == (None, 1), "of the broken ones none was heard or heeded"
        eventually(lambda: len(history([active], TOKEN)) > 1)


@pytest.mark.parametrize("version", [4, 6])
def test_the_same_id_on_another_link_is_another_virtual_router(tmp_path: Path, version: int) -> None:
    """A keepalived of the node's own, for the API server's address say, on the link that is not the group's."""
    with segment(tmp_path) as [director, stranger]:
        director.instances = (Instance(GROUP, ROUTER, "eth0", 100, 3, 250, version=version, addresses=VIP),)
        director.do(ConfigureInstances(director.instances))
        director.start()
        allow(director)
        eventually(director.holds)
        source, address = ends(stranger, version)
        whole = forge.advertisement(source, ROUTER, 254, 0.1, address)

        async def listen() -> list[Heard | None]:
            links = ["eth1", "eth0"]
            made = [Ownership(lambda: None, lambda _, link=link: Router(link, 3)) for link in links]  # type: ignore[misc]  # bound
            for it in made:
                it.start()
            await asyncio.to_thread(stranger.call, lambda: _send([whole], version))
            await asyncio.to_thread(eventually, lambda: made[1].heard(ROUTER) is not None)
            for it in made:
                it.close()
            return [it.heard(ROUTER) for it in made]

        other, group = director.call(lambda: asyncio.run(listen()))
        assert other is None
        assert group is not None


def ends(stranger: Director, version: int) -> tuple[str, str]:
    """From which address a director sends, and what it announces."""
    if version == 4:
        return f"198.18.0.{stranger.number}", "127.118.115.51"
    found = stranger.run("ip -6 -br address show eth0 scope link").split()[2].partition("/")[0]
    return found, f"fe80::7673:{ROUTER:x}"


def _send(messages: list[bytes], version: int) -> None:
    """As whoever this thread's namespace is, over its eth0."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_RAW, forge.VRRP) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        if version == 4:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        else:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        for one in messages:
            sender.sendto(one, (forge.VRRP_GROUP if version == 4 else forge.VRRP_GROUP6, 0))


def on_eth0(_router: int) -> Router:
    return Router("eth0", 3)


def allow(director: Director) -> None:
    eventually(lambda: director.call(lambda: director.kernel.apply([Allow(GROUP)]))[0].ok)


def allow_from_outside(director: Director) -> None:
    """The same without the director's thread, which is busy."""
    eventually(lambda: director.kernel.apply([Allow(GROUP)])[0].ok)


async def _watch(strike: object) -> tuple[float, Heard | None, float | None]:
    """Watch until the token is here after the strike; return how long ago the loop was woken then."""
    woken = asyncio.Event()
    it = Ownership(woken.set, on_eth0)
    it.start()
    await asyncio.sleep(0.5)
    woken.clear()
    await asyncio.to_thread(strike)  # type: ignore[arg-type]  # a function without a result
    limit = time.monotonic() + 5
    while (since := it.held_since(ROUTER)) is None:
        assert time.monotonic() < limit
        await asyncio.wait_for(woken.wait(), 5)
        woken.clear()
    late = time.monotonic() - since
    found = it.heard(ROUTER)
    it.close()
    return late, found, since
