"""The charts of the documentation: whole, shown, and of the figures beside them."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

from bench.discovery import charts, figures
from bench.discovery.figures import Figure, Figures
from bench.svg import Chart, Line, draw

DOCS = Path(__file__).parent.parent / "docs"
CHARTS = DOCS / "charts"


def test_every_chart_is_shown_and_every_one_shown_is_there() -> None:
    shown = re.findall(r"\]\(charts/([\w-]+\.svg)\)", (DOCS / "performance.md").read_text())
    assert sorted(shown) == sorted(path.name for path in CHARTS.glob("*.svg"))


def test_charts_are_drawn_from_the_figures_kept_beside_them(tmp_path: Path) -> None:
    charts.draw(figures.read(CHARTS), tmp_path)
    for path in CHARTS.glob("*.svg"):
        assert (tmp_path / path.name).read_text() == path.read_text(), f"draw {path.name} again"
        ET.fromstring(path.read_text())


def test_figures_of_other_parts_stay(tmp_path: Path) -> None:
    Figures([Figure("dns", "A", "server", 3, rate=1234.5678)]).keep(tmp_path)
    Figures([Figure("http", "KV", "server", spread=[(50.0, 0.123456)])]).keep(tmp_path)
    found = figures.read(tmp_path)
    assert [(one.part, one.rate) for one in found.found] == [("dns", 1235.0), ("http", 0.0)]
    assert [[*pair] for pair in found.of("http")[0].spread] == [[50.0, 0.1235]]
    assert found.of("dns", what="SRV") == []


def test_names_are_escaped() -> None:
    line = Line("<a & b>", [(1.0, 0.5), (10.0, 200.0)], 1, dashed=True)
    chart = Chart("a < b", "", "x", "y", [line], [(1.0, "1"), (10.0, "10")], log=True)
    assert "a &lt; b" in draw(chart)
    ET.fromstring(draw(chart))
