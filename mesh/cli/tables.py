"""Tables on a terminal, drawn by rich. Imported only when there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

STYLES = {
    "alive": "green",
    "passing": "green",
    "leaving": "yellow",
    "warning": "yellow",
    "left": "dim",
    "failed": "red",
    "critical": "red",
    "frozen": "yellow",
    "no UDP": "red",
    "no TCP": "red",
    "MTU": "red",
    "nothing": "red",
    "unknown": "red",
    "open": "green",
    "denied": "red",
    "broken": "yellow",
}


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose words for health have their colour. No cell is read as markup."""
    return _filled(Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold"), columns, rows)


def compact(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """The same without lines."""
    return _filled(Table(box=None, pad_edge=False, header_style="dim"), columns, rows)


def _filled(drawn: Table, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    return drawn


def show(
    stream: TextIO, columns: Sequence[str], rows: Sequence[Sequence[str]], *, color: bool
) -> None:
    """Draw a table on the terminal."""
    console = Console(file=stream, no_color=not color, highlight=False)
    console.print(table(columns, rows))
