"""Which links of ours are to be removed, made, set up, and which may hold an address; a part of ``diff``.

A link is made down. It is set up, and addresses are put on it, only when its settings *read back* as wanted: before
that a packet could come through it that they would have stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from virtualserver.model.operations import AddLink, Operation, RaiseLink, RemoveLink
from virtualserver.model.types import Owned, OwnLink, State
from virtualserver.plan.settings import link_of


def removals(desired: State, actual: State, owned: Owned, complete: bool) -> Iterator[Operation]:
    """Yield removals of links that are not wanted, and of those that another hand has changed."""
    for name, found in sorted(actual.own_links.items()):
        if name not in owned.own_links:
            continue
        wanted = desired.own_links.get(name)
        if complete if wanted is None else not _same(wanted, found):
            yield RemoveLink(name)


def additions(desired: State, actual: State, owned: Owned) -> Iterator[Operation]:
    """Yield what makes the missing links; the name of a link that is not ours is left alone."""
    for name, wanted in sorted(desired.own_links.items()):
        found = actual.own_links.get(name)
        if name not in actual.links or (found and name in owned.own_links and not _same(wanted, found)):
            yield AddLink(name, wanted)


def raises(desired: State, actual: State, owned: Owned) -> Iterator[Operation]:
    """Yield what sets links up whose settings are as wanted."""
    for name, wanted in sorted(desired.own_links.items()):
        found = actual.own_links.get(name)
        ready = found and not found.up and _same(wanted, found) and name in owned.own_links
        if ready and settled(name, desired, actual):
            yield RaiseLink(name)


def may_hold(name: str, desired: State, actual: State) -> bool:
    """Tell whether an address may be put on a link.

    On a link of ours, only when the link is as wanted and the settings of *every* link read back as wanted: it is
    another link of this node that would tell the segment of the address (``arp_ignore``).
    """
    if name not in desired.own_links:
        return True
    found = actual.own_links.get(name)
    return found is not None and _same(desired.own_links[name], found) and settled(None, desired, actual)


def settled(name: str | None, desired: State, actual: State) -> bool:
    """Tell whether the settings of one link, or with None of all links, read back as wanted; missing ones count not."""
    return all(
        actual.sysctls.get(setting, value) == value
        for setting, value in desired.sysctls.items()
        if (link := link_of(setting)) is not None and name in (None, link)
    )


def strangers(desired: State, actual: State, owned: Owned) -> frozenset[str]:
    """Return names of wanted links under which there is a link that is not ours."""
    ours = actual.own_links.keys() & owned.own_links
    return frozenset(name for name in desired.own_links if name in actual.links and name not in ours)


def _same(wanted: OwnLink, found: OwnLink) -> bool:
    return replace(found, up=wanted.up) == wanted
