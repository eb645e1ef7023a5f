"""The operations that bring an empty machine to a state, and back: what a plain script has to do, without any read.

The same ``diff`` decides them as in every round of the agent; here its operations are taken as done.
"""

from __future__ import annotations

from dataclasses import replace

from virtualserver.model.operations import (
    AddAddress,
    AddDecapsulation,
    AddLink,
    Operation,
    RaiseLink,
    ReplaceRules,
    WriteSysctl,
)
from virtualserver.model.types import Owned, State
from virtualserver.plan.diff import diff
from virtualserver.plan.settings import link_of

UNKNOWN = "?"
"""The value of a setting that only the machine can know."""


def there(wanted: State) -> tuple[Operation, ...]:
    """Return what makes a state out of nothing, in order; every setting is written."""
    state = State(sysctls=dict.fromkeys(wanted.sysctls, UNKNOWN))
    owned = Owned(own_links=frozenset(wanted.own_links))
    taken: list[Operation] = []
    while operations := diff(wanted, state, owned, complete=True):
        taken += operations
        for operation in operations:
            state = _done(operation, state)
    return tuple(taken)


def back(wanted: State) -> tuple[Operation, ...]:
    """Return what takes that state away again, in order. Settings go back to ``UNKNOWN``."""
    before = {name: UNKNOWN for name in wanted.sysctls if link_of(name) not in wanted.own_links}
    owned = Owned(
        frozenset(wanted.services),
        wanted.addresses,
        before,
        True,
        frozenset(wanted.own_links),
        wanted.decapsulations,
    )
    return diff(State(), wanted, owned, complete=True)


def _done(operation: Operation, state: State) -> State:
    match operation:
        case AddLink(name, link):
            own_links = {**state.own_links, name: replace(link, up=False)}
            return replace(state, own_links=own_links, links=state.links | {name})
        case RaiseLink(name):
            return replace(state, own_links={**state.own_links, name: replace(state.own_links[name], up=True)})
        case WriteSysctl(name, value):
            return replace(state, sysctls={**state.sysctls, name: value})
        case ReplaceRules(rules):
            return replace(state, rules=rules)
        case AddDecapsulation(one):
            return replace(state, decapsulations=state.decapsulations | {one})
        case AddAddress(address):
            return replace(state, addresses=state.addresses | {address})
    raise ValueError(f"no machine outside the cluster needs this: {operation}")
