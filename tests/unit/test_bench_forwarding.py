"""What samples of traffic through a director come to."""

from __future__ import annotations

import pytest

from bench.forwarding import AT_WORK, Sample, figures, measures
from bench.modes import MODES


def test_a_machine_that_becomes_slow_for_minutes_changes_no_ratio() -> None:
    direct = next(mode for mode in MODES if mode.name == "DirectRouting")
    fast, slow = Sample(1000, 900, 1200), Sample(500, 400, 600)
    one = {"ours": [slow, slow, fast], AT_WORK: [Sample(450, 400, 600)] * 3}
    others = {"by hand": [fast, fast, fast], "HAProxy": [Sample(300, 200, 600)] * 3}
    rows = {
        (row.name, row.peer_name): row.ours / row.peer
        for row in figures(direct, {kind.name: one | others for kind in measures(direct)})
        if row.peer
    }
    name = "TCP connections through DirectRouting"
    assert rows[name, "by hand"] == pytest.approx(1.0)
    assert rows[name, "HAProxy"] == pytest.approx(1000 / 600)
    assert rows[name, "direct"] == pytest.approx(5 / 6)
    assert rows[f"{name}, agents at work", "by hand"] == pytest.approx(0.9)
