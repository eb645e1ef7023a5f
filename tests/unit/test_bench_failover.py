"""Figures of the failover benchmark: the worst run counts, and its peer stands beside it."""

from __future__ import annotations

from xml.etree import ElementTree

from bench import outcomes, plot
from bench.outcomes import Outcome
from failover.measure import Seen, Used


def seen(lost: int = 0, pause: float = 0.2) -> Seen:
    young = Used(count=1000, echo=1000 - lost, reset=lost, silence=0, longest=pause)
    old = Used(count=1000, echo=1000, reset=0, silence=0, longest=pause)
    return Seen({"0s": young, "3s": old}, pause=pause, dark=pause - 0.05, floor=0.02)


def test_the_worst_run_is_the_figure_and_each_peer_has_a_row() -> None:
    key = ("NAT", "mh")
    found = {
        "ours": Outcome({key: [seen(), seen(3, 0.24)]}, [seen()], {5: 99.5}),
        "keepalived": Outcome({key: [seen(30, 0.4), seen(8, 0.3)]}, [seen(2)], {5: 91.0}),
        "keepalived, tuned": Outcome({key: [seen(1), seen()]}, [seen()], {5: 97.0}),
    }
    rows = outcomes.figures(found)
    lost = [(one.ours, one.peer, one.peer_name) for one in rows if one.name == "crash_lost_NAT_mh_0s"]
    assert lost == [(3, 30, "keepalived"), (3, 1, "keepalived, tuned")]
    pause = [(one.ours, one.peer, one.unit) for one in rows if one.name == "crash_pause_NAT_mh"]
    assert pause == [(0.24, 0.4, "s"), (0.24, 0.2, "s")]
    assert [one.peer for one in rows if one.name == "mirrored_at_5_percent_loss"] == [91.0, 97.0]
    assert "of 1000: 0 3" in next(one.note for one in rows if one.name == "crash_lost_NAT_mh_0s")
    assert next(one.ours for one in rows if one.name == "crash_lost_NAT_mh_3s") == 0


def test_a_peer_alone_is_shown_as_such() -> None:
    rows = outcomes.figures({"keepalived": Outcome({("NAT", "mh"): [seen(7)]})})
    lost = next(one for one in rows if one.name == "crash_lost_NAT_mh_0s")
    assert (lost.ours, lost.peer) == (7, None)
    assert "nothing beside it" in lost.note


def test_the_plot_shows_a_hole_where_nothing_arrived() -> None:
    arrivals = [number / 100 for number in range(-100, 300) if not 0 <= number < 30]
    points = plot.throughput(arrivals, 1000, -0.5, 2.0)
    empty = [at for at, value in points if value == 0]
    assert len(empty) in (5, 6, 7)  # of 0.3 s, in stretches of 0.05 s
    assert all(-0.05 < at < 0.3 for at in empty)
    drawing = ElementTree.fromstring(plot.crash_chart({"ours": arrivals, "keepalived & more": arrivals}, 1000))
    assert len(drawing.findall("{*}polyline")) == 2
