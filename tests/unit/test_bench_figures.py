"""What `make bench` writes for programs and for people."""

from __future__ import annotations

import json
from pathlib import Path

from bench.figures import Figure, table, write

ALONE = Figure("import", 0.25, "s", "the disk")
BESIDE = Figure("programming", 1500.0, "1/s", "the kernel", 1000.0, "ipvsadm -R")


def test_a_line_for_each_figure_with_the_fields_that_are_promised(tmp_path: Path) -> None:
    write([ALONE, BESIDE], tmp_path / "results")
    alone, beside = map(json.loads, (tmp_path / "results").read_text().splitlines())
    assert list(alone) == ["name", "ours", "peer", "ratio", "unit", "peer_name"]
    assert alone == {"name": "import", "ours": 0.25, "peer": None, "ratio": None, "unit": "s", "peer_name": None}
    assert (beside["ours"], beside["peer"], beside["ratio"], beside["peer_name"]) == (1500, 1000, 1.5, "ipvsadm -R")


def test_what_each_run_came_to_is_there_where_there_were_several(tmp_path: Path) -> None:
    several = Figure("pause", 0.25, "s", "", 0.5, "keepalived", runs=[0.25, 0.2], peer_runs=[0.5])
    write([several], tmp_path / "results")
    line = json.loads((tmp_path / "results").read_text())
    assert (line["runs"], line["peer_runs"]) == ([0.25, 0.2], [0.5])


def test_the_table_says_of_each_figure_what_limits_it() -> None:
    said = table([ALONE, BESIDE])
    assert "- import: the disk" in said
    assert "- programming: the kernel" in said
