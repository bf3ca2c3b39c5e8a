"""Charts: the figures of a run as pictures for the documentation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from bench import svg
from bench.discovery.figures import Figure, Figures
from bench.discovery.growth import IN_SERVICE
from bench.svg import Chart, Line

DNS_NAMES = {"knot": 0, "unbound": 6, "dnsmasq": 5, "consul": 4, "server": 1, "agent": 2}
READ_LINES = (
    ("server", "default", 1),
    ("agent", "stale", 2),
    ("agent", "cached", 3),
    ("consul", "default", 4),
    ("agent", "default", 5),
)
HANDED_ON = "agent"
NINES = (50.0, 90.0, 99.0, 99.9, 99.99)


def draw(found: Figures, folder: Path) -> None:
    """Write a chart for whatever was measured."""
    for name, chart in _charts(found):
        if chart.lines:
            (folder / f"{name}.svg").write_text(svg.draw(chart))
            print(f"drew {folder / name}.svg")


def _charts(found: Figures) -> Iterator[tuple[str, Chart]]:
    for kind in ("A", "SRV"):
        yield f"dns-{kind.lower()}", _dns(found, kind)
    for title in ("health", "KV"):
        yield f"{title.lower()}-connections", _connections(found, title)
        yield f"{title.lower()}-latency", _latency(found, title)
    yield "growth-throughput", _growth(found)
    yield "growth-cost", _first_costs(found)
    yield "spread", _spread(found)


def _dns(found: Figures, kind: str) -> Chart:
    """Answers a second by the number of instances."""
    lines = []
    for name, colour in DNS_NAMES.items():
        for changing in (False, True):
            points = _points(found.of("dns", what=kind, of=name, changing=changing), "size")
            if len(points) > 1:
                title = f"{name}, changing" if changing else name
                lines.append(Line(title, points, colour, dashed=changing))
    marks = [(3.0, "3"), (20.0, "20"), (200.0, "200")]
    about = "UDP with EDNS of 4,096 bytes, one process each; dashed: 200 writes a second change it"
    return Chart(
        f"DNS {kind}: answers a second",
        about,
        "instances of the service",
        "answers/s",
        lines,
        marks,
    )


def _connections(found: Figures, title: str) -> Chart:
    """Answers a second by the number of connections."""
    lines = [Line("constant answer", _points(found.of("http", what=title), "connections"), 0)]
    for of, mode, colour in READ_LINES:
        for changing in (False, True):
            some = found.of("http", what=f"{title} {mode}", of=of, changing=changing)
            if points := _points(some, "connections"):
                name = f"{of} {mode}{' *' if changing else ''}"
                lines.append(Line(name, points, colour, dashed=changing))
    marks = [(1.0, "1"), (32.0, "32"), (256.0, "256")]
    about = "keep-alive connections that each wait for the answer; * 200 writes a second change it"
    lines = [one for one in lines if len(one.points) > 1]
    return Chart(
        f"{title[0].upper()}{title[1:]} reads a second",
        about,
        "connections",
        "answers/s",
        lines,
        marks,
    )


def _latency(found: Figures, title: str) -> Chart:
    """The milliseconds within which so many of a hundred answers came."""
    lines = []
    for connections, colour in ((1, 1), (32, 2), (256, 3)):
        for changing in (False, True):
            wanted = {"of": "server", "connections": connections, "changing": changing}
            for one in found.of("http", what=f"{title} default", **wanted):
                name = f"{connections} conn.{' *' if changing else ''}"
                lines.append(Line(name, _tail(one), colour, dashed=changing))
    about = "server, default consistency, as fast as it can; * 200 writes a second change it"
    marks = [(part, f"{part:g} %") for part in NINES]
    return Chart(
        f"{title[0].upper()}{title[1:]} reads: time of answers", about, "of the answers, within",
        "ms", lines, marks, _nines, log=True,
    )  # fmt: skip


def _tail(one: Figure) -> list[tuple[float, float]]:
    return [(part, time) for part, time in one.spread if part >= NINES[0] and time > 0]


def _nines(part: float) -> float:
    """Where a percentile stands: each nine more is as wide as the one before."""
    return -math.log10(1 - part / 100)


def _growth(found: Figures) -> Chart:
    names = {
        "A": ("DNS A, one name", 1),
        "A of all": ("DNS A, all names", 2),
        "health": ("health", 3),
    }
    lines = []
    for what, (name, colour) in names.items():
        if points := _points(found.of("growth", what=what), "size"):
            lines.append(Line(name, points, colour))
    about = f"one server, services of {IN_SERVICE} instances, clients on the same machine"
    marks = _sizes(found)
    title = "Answers a second as the catalog grows"
    return Chart(title, about, "instances in the catalog", "answers/s", lines, marks)


def _first_costs(found: Figures) -> Chart:
    catalogs = found.of("growth", what="catalog")
    lines = []
    for name, title, colour in (("first A us", "DNS A", 1), ("first health us", "health", 3)):
        if points := [(float(one.size), one.extra[name]) for one in catalogs]:
            lines.append(Line(title, points, colour))
    about = f"processor time of an answer that nobody asked for before, {IN_SERVICE} instances"
    title = "What a first answer costs as the catalog grows"
    return Chart(title, about, "instances in the catalog", "µs of CPU", lines, _sizes(found))


def _sizes(found: Figures) -> list[tuple[float, str]]:
    return [(float(one.size), f"{one.size:,}") for one in found.of("growth", what="catalog")]


def _spread(found: Figures) -> Chart:
    lines = []
    marks = [(float(part), f"{part} %") for part in (0, 25, 50, 75, 100)]
    for number, one in enumerate(found.of("spread")):
        lines.append(Line(f"{one.size} agents", one.spread, number + 1))
    about = "from the moment the check is told to fail until the last agent's DNS leaves it out"
    return Chart(
        "A failed check reaches every agent", about, "of the trials, within", "ms",
        lines, marks, float,
    )  # fmt: skip


def _points(some: list[Figure], field: str) -> list[tuple[float, float]]:
    return sorted((float(getattr(one, field)), one.rate) for one in some)
