"""Line and bar charts as SVG, without a library.

Charts are read by people of the documentation in light and in dark: each brings its own ground, and
follows what the reader's system prefers. A library would bring fonts, colours and hundreds of
kilobytes of paths; these few shapes are text that a reader of a commit can follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 74, 176, 64, 54
_STYLE = """
.ground { fill: #ffffff; stroke: #d0d7de } text { fill: #1f2328 } .quiet { fill: #59636e }
.grid { stroke: #d8dee4 } .axis { stroke: #8c959f }
.s0 { stroke: #57606a; fill: #57606a } .s1 { stroke: #0550ae; fill: #0550ae }
.s2 { stroke: #bc4c00; fill: #bc4c00 } .s3 { stroke: #1a7f37; fill: #1a7f37 }
.s4 { stroke: #8250df; fill: #8250df } .s5 { stroke: #bf3989; fill: #bf3989 }
.s6 { stroke: #7d5e00; fill: #7d5e00 } .line { fill: none; stroke-width: 2.25 }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117; stroke: #3d444d } text { fill: #f0f6fc } .quiet { fill: #9198a1 }
.grid { stroke: #262c36 } .axis { stroke: #656c76 }
.s0 { stroke: #9198a1; fill: #9198a1 } .s1 { stroke: #58a6ff; fill: #58a6ff }
.s2 { stroke: #f0883e; fill: #f0883e } .s3 { stroke: #3fb950; fill: #3fb950 }
.s4 { stroke: #bc8cff; fill: #bc8cff } .s5 { stroke: #ff7bb9; fill: #ff7bb9 }
.s6 { stroke: #d4a72c; fill: #d4a72c } .line { fill: none }
}
"""


class Line(NamedTuple):
    """Points that belong together, in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int
    dashed: bool = False


class Chart(NamedTuple):
    """What is drawn, and what stands around it."""

    title: str
    about: str
    """A line below the title."""
    across: str
    up: str
    lines: Sequence[Line]
    marks: Sequence[tuple[float, str]]
    """Where the x axis has a mark, and what it says."""
    place: Callable[[float], float] = math.log10
    """Where a value of x stands on the axis."""
    log: bool = False
    """Whether y is drawn by its logarithm; else it begins at 0."""


def draw(chart: Chart) -> str:
    """The chart as an SVG document."""
    across, up = _across(chart), _up(chart)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" font-family="system-ui, sans-serif" font-size="12" role="img">',
        f"<title>{escape(chart.title)}</title><style>{_STYLE}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="6"/>',
        f'<text x="16" y="26" font-size="16" font-weight="600">{escape(chart.title)}</text>',
        f'<text class="quiet" x="16" y="45">{escape(chart.about)}</text>',
        *_grid(chart, across, up),
    ]
    for one in chart.lines:
        parts += _line(one, across, up)
    parts += _legend(chart.lines)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _across(chart: Chart) -> Callable[[float], float]:
    places = [chart.place(value) for value, _ in chart.marks]
    low, high = min(places), max(places)
    wide = WIDTH - LEFT - RIGHT
    return lambda value: LEFT + wide * (chart.place(value) - low) / (high - low or 1)


def _up(chart: Chart) -> Callable[[float], float]:
    ticks = _ticks(chart)
    place = math.log10 if chart.log else float
    low, high = place(ticks[0]), place(ticks[-1])
    tall = HEIGHT - TOP - BOTTOM
    return lambda value: HEIGHT - BOTTOM - tall * (place(value) - low) / (high - low or 1)


def _ticks(chart: Chart) -> list[float]:
    """Values of y that have a mark; the first and the last are the ends of the axis."""
    values = [y for one in chart.lines for _, y in one.points]
    if chart.log:
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        return [10.0**power for power in range(low, max(high, low + 1) + 1)]
    rough = max(values) / 5 or 1
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(scale * part for part in (1, 2, 2.5, 5, 10) if scale * part >= rough)
    return [step * number for number in range(math.ceil(max(values) / step) + 1)]


def _grid(
    chart: Chart, across: Callable[[float], float], up: Callable[[float], float]
) -> list[str]:
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for value in _ticks(chart):
        y = up(value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="quiet" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{_short(value)}</text>"
        )
    for value, text in chart.marks:
        x = across(value)
        parts.append(
            f'<line class="axis" x1="{x:.1f}" y1="{floor}" x2="{x:.1f}" y2="{floor + 5}"/>'
        )
        parts.append(
            f'<text class="quiet" x="{x:.1f}" y="{floor + 19}" text-anchor="middle">'
            f"{escape(text)}</text>"
        )
    middle = TOP + (floor - TOP) / 2
    return [
        *parts,
        f'<line class="axis" x1="{LEFT}" y1="{floor}" x2="{right}" y2="{floor}"/>',
        f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 14}" text-anchor="middle">'
        f"{escape(chart.across)}</text>",
        f'<text transform="translate(18 {middle:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(chart.up)}</text>",
    ]


def _line(one: Line, across: Callable[[float], float], up: Callable[[float], float]) -> list[str]:
    points = [f"{across(x):.1f},{up(y):.1f}" for x, y in one.points]
    dashes = ' stroke-dasharray="6 4"' if one.dashed else ""
    parts = [f'<polyline class="s{one.colour} line"{dashes} points="{" ".join(points)}"/>']
    for (x, y), point in zip(one.points, points, strict=True):
        left, top = point.split(",")
        said = f"<title>{escape(one.name)}: {x:g}, {y:g}</title>"
        parts.append(f'<circle class="s{one.colour}" cx="{left}" cy="{top}" r="3">{said}</circle>')
    return parts


def _legend(lines: Sequence[Line]) -> list[str]:
    parts = []
    left = WIDTH - RIGHT + 18
    for number, one in enumerate(lines):
        y = TOP + 8 + 22 * number
        dashes = ' stroke-dasharray="6 4"' if one.dashed else ""
        parts.append(
            f'<line class="s{one.colour} line"{dashes} x1="{left}" y1="{y}" x2="{left + 26}" '
            f'y2="{y}"/><text x="{left + 33}" y="{y + 4}">{escape(one.name)}</text>'
        )
    return parts


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"
