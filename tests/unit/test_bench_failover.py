"""Figures of the failover benchmark: the worst run counts, and its peer stands beside it."""

from __future__ import annotations

from xml.etree import ElementTree

from bench import failover, outcomes, plot
from bench.outcomes import Outcome
from failover.measure import Seen, Used
from lab.console import LabError


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
    by_name = {one.name: one for one in rows}
    assert len(by_name) == len(rows), "a name is that of one row"
    lost, tuned = by_name["crash_lost_NAT_mh_0s"], by_name["crash_lost_NAT_mh_0s_beside_keepalived_tuned"]
    assert (lost.ours, lost.peer, lost.peer_name) == (3, 30, "keepalived")
    assert (tuned.ours, tuned.peer, tuned.peer_name) == (3, 1, "keepalived, tuned")
    assert (lost.runs, lost.peer_runs, tuned.peer_runs) == ([0, 3], [30, 8], [1, 0])
    assert "of 1000: 0 3" in lost.note
    pause = by_name["crash_pause_NAT_mh"]
    assert (pause.ours, pause.peer, pause.unit) == (0.24, 0.4, "s")
    slowest = by_name["crash_slowest_NAT_mh"]
    assert (slowest.ours, slowest.peer, slowest.runs) == (0.24, 0.4, [0.2, 0.24])
    assert by_name["mirrored_at_5_percent_loss"].peer == 91.0
    assert by_name["mirrored_at_5_percent_loss_beside_keepalived_tuned"].peer == 97.0
    assert by_name["crash_lost_NAT_mh_3s"].ours == 0


def test_a_row_of_the_second_peer_is_never_taken_for_the_first_ones() -> None:
    """Where the first one could not be measured in that mode."""
    key, other = ("NAT", "mh"), ("NAT", "rr")
    found = {
        "ours": Outcome({key: [seen()], other: [seen()]}),
        "keepalived": Outcome({other: [seen(8, 0.3)]}),
        "keepalived, tuned": Outcome({key: [seen(1)], other: [seen()]}),
    }
    names = {one.name: one.peer_name for one in outcomes.figures(found) if one.name.startswith("crash_pause_NAT_mh")}
    assert names == {"crash_pause_NAT_mh_beside_keepalived_tuned": "keepalived, tuned"}


def test_a_peer_alone_is_shown_as_such() -> None:
    rows = outcomes.figures({"keepalived": Outcome({("NAT", "mh"): [seen(7)]})})
    lost = next(one for one in rows if one.name == "crash_lost_NAT_mh_0s")
    assert (lost.ours, lost.peer) == (7, None)
    assert "nothing beside it" in lost.note


def test_what_could_not_be_measured_is_told() -> None:
    missed: list[str] = []

    def busy() -> float:
        raise LabError("only 3 of 250 connections stand")

    assert failover._again(lambda: 0.2, "ours: crash", missed) == 0.2
    assert missed == []
    assert failover._again(busy, "ours: crash, NAT mh, round 7", missed) is None
    assert missed == ["NOT MEASURED: ours: crash, NAT mh, round 7"]


def test_the_plot_shows_a_hole_where_nothing_arrived() -> None:
    arrivals = [number / 100 for number in range(-100, 300) if not 0 <= number < 30]
    points = plot.throughput(arrivals, 1000, -0.5, 2.0)
    empty = [at for at, value in points if value == 0]
    assert len(empty) in (5, 6, 7)  # of 0.3 s, in stretches of 0.05 s
    assert all(-0.05 < at < 0.3 for at in empty)
    drawing = ElementTree.fromstring(plot.crash_chart({"ours": arrivals, "keepalived & more": arrivals}, 1000))
    assert len(drawing.findall("{*}polyline")) == 2
