"""Figures as values, the table that a person reads and the lines that a program reads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path("bench-results.jsonl")


@dataclass(frozen=True)
class Figure:
    """One measured figure; `peer` and `ratio` are None where nothing else does the same, and `runs` are what each run
    came to, where there were several."""

    name: str
    ours: float
    unit: str
    note: str
    peer: float | None = None
    peer_name: str = ""
    runs: Sequence[float] = ()
    peer_runs: Sequence[float] = ()

    @property
    def ratio(self) -> float | None:
        return round(self.ours / self.peer, 3) if self.peer else None

    def line(self) -> str:
        fields = {"name": self.name, "ours": round(self.ours, 4), "peer": self.peer and round(self.peer, 4)}
        fields |= {"ratio": self.ratio, "unit": self.unit, "peer_name": self.peer_name or None}
        runs = {"runs": self.runs, "peer_runs": self.peer_runs}
        return json.dumps(fields | {name: [round(one, 4) for one in each] for name, each in runs.items() if each})


def write(figures: Sequence[Figure], path: Path = RESULTS) -> None:
    path.write_text("".join(f"{figure.line()}\n" for figure in figures))


def table(figures: Sequence[Figure]) -> str:
    """Columns, and below them what limits each figure."""
    rows = [("figure", "ours", "peer", "ratio", "unit", "")]
    rows += [
        (one.name, _number(one.ours), _number(one.peer), _number(one.ratio), one.unit, one.peer_name) for one in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = [
        "  ".join(_pad(text, width, at) for at, (text, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    notes = [f"- {one.name}: {one.note}" for one in figures if one.note]
    return "\n".join([*(line.rstrip() for line in lines), "", "What limits them:", *notes])


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _pad(text: str, width: int, column: int) -> str:
    return text.rjust(width) if column in (1, 2, 3) else text.ljust(width)
