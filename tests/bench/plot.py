"""A line chart as SVG, written by hand: what a client got over time, each line with a name at its side.

python -m bench.plot FILE.json FILE.svg     FILE.json: {"name": [arrival, ...], ...}, seconds from the crash on
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 860, 320, 70, 40, 20, 50
COLOURS = ("#1565c0", "#c62828", "#2e7d32", "#6a1b9a")
BIN = 0.05
"""Seconds: arrivals are counted in stretches of this length."""

Points = Sequence[tuple[float, float]]


def throughput(arrivals: Sequence[float], size: int, start: float, end: float) -> Points:
    """Kilobytes in a second, in each stretch."""
    counts = Counter(int((at - start) // BIN) for at in arrivals if start <= at < end)
    bins = round((end - start) / BIN)
    return [(start + number * BIN, counts[number] * size / BIN / 1000) for number in range(bins)]


def chart(title: str, lines: Mapping[str, Points], unit: str) -> str:
    """The whole drawing; lines are steps, because their values hold for a stretch."""
    times = [at for points in lines.values() for at, _ in points]
    start, end = min(times), max(times) + BIN
    top = _round_up(max(value for points in lines.values() for _, value in points))
    across = (WIDTH - LEFT - RIGHT) / (end - start)
    up = (HEIGHT - TOP - BOTTOM) / top

    def x(at: float) -> float:
        return round(LEFT + (at - start) * across, 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - value * up, 1)

    parts = [_text(LEFT, 20, title, size=15)]
    for number in range(5):
        value = top * number / 4
        parts.append(_line(LEFT, y(value), WIDTH - RIGHT, y(value), "#dddddd"))
        parts.append(_text(LEFT - 8, y(value) + 4, f"{value:g}", anchor="end"))
    parts += [_text(x(at), HEIGHT - BOTTOM + 18, f"{at:g} s", anchor="middle") for at in _ticks(start, end)]
    parts.append(_text(14, TOP - 8, unit))
    parts.append(_line(x(0), TOP, x(0), HEIGHT - BOTTOM, "#555555", dashes="4 3"))
    parts.append(_text(x(0) + 5, TOP + 12, "crash"))
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        corners = [(x(at + shift), y(value)) for at, value in points for shift in (0, BIN)]
        path = " ".join(f"{one},{other}" for one, other in corners)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.8" points="{path}"/>')
        parts.append(_text(LEFT + 10 + 210 * number, HEIGHT - 8, name, colour=colour))
    inside = "\n".join(parts)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    return f'{head}\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{inside}\n</svg>\n'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dashes: str = "none") -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-dasharray="{dashes}"/>'


def _text(x: float, y: float, words: str, *, size: int = 12, anchor: str = "start", colour: str = "#222222") -> str:
    place = f'x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{escape(words)}</text>"


def _ticks(start: float, end: float) -> list[float]:
    """Every half second."""
    return [number / 2 for number in range(round(start * 2), int(end * 2) + 1)]


def _round_up(value: float) -> float:
    """To one digit that is easy to read."""
    for step in (1, 2, 4, 5, 8, 10, 20, 40, 50, 80, 100, 200, 400, 500, 800, 1000, 2000, 4000, 8000):
        if value <= step:
            return step
    return value


def crash_chart(streams: Mapping[str, Sequence[float]], size: int) -> str:
    lines = {name: throughput(arrivals, size, -0.5, 2.0) for name, arrivals in streams.items()}
    return chart("One client's connection while the active director crashes", lines, "kB/s")


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(crash_chart(json.loads(Path(sys.argv[1]).read_text()), 1000))
