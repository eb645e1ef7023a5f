"""Figures of the benchmark from one crash, beside keepalived by hand: a run of the tests shows them at its end."""

from __future__ import annotations

from collections.abc import Callable

from bench import figures
from bench.failover import ONCE, measure_all
from failover.measure import AGES
from lab.guest import CHECKOUT
from lab.lab import Lab

RESULTS = CHECKOUT / "artifacts" / figures.RESULTS
LONGEST = 1.5
"""Seconds that a busy machine may make of the 0.25 that are seen on one that is not."""
WHERE = "DirectRouting_mh"


def test_a_crash_and_a_planned_failover_beside_keepalived(
    bare: Lab, record_property: Callable[[str, object], None]
) -> None:
    found = measure_all(bare, ONCE, ("ours", "keepalived"))
    RESULTS.parent.mkdir(exist_ok=True)
    figures.write(found, RESULTS)
    for one in found:
        peer = "not measured" if one.peer is None else f"{one.peer:.3g}"
        record_property(one.name, f"{one.ours:.3g} {one.unit}; {one.peer_name}: {peer}")
    ours = {one.name: one.ours for one in found}
    lost = {name: value for name, value in ours.items() if "_lost" in name}
    ages = [f"crash_lost_{WHERE}_{age.name}" for age in AGES]
    assert lost == dict.fromkeys([*ages, "handover_lost"], 0)
    assert ours[f"crash_pause_{WHERE}"] < LONGEST
    assert ours["handover_pause"] < LONGEST
    assert all(one.peer is not None for one in found)
