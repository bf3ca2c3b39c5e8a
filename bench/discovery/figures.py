"""Figures: what was measured, one after the other, kept as JSON beside the charts."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

FILE = "figures.json"


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing asked of one program, for some seconds."""

    part: str
    what: str
    of: str
    """Which program answered."""
    size: int = 0
    """Instances of the service, or in the whole catalog."""
    connections: int = 0
    changing: bool = False
    """Whether writes changed what was read meanwhile."""
    rate: float = 0.0
    """Answers a second."""
    bytes: float = 0.0
    """Of one answer, about."""
    cpu: float = 0.0
    """Processor time of one answer, in microseconds; 0 when unknown."""
    p50: float = 0.0
    """Milliseconds, as are the others."""
    p99: float = 0.0
    p999: float = 0.0
    spread: Sequence[tuple[float, float]] = ()
    """Percentiles, and the milliseconds within which so many answers came."""
    ceiling: float = 0.0
    """Answers a second of the ceiling, measured just before."""
    ceiling_cpu: float = 0.0
    """Processor time of one of its answers, in microseconds."""
    busy: float = 0.0
    """The load average of the machine at the end."""
    extra: dict[str, float] = {}

    @property
    def share(self) -> float:
        """Of the ceiling; 0 when there is none."""
        return self.rate / self.ceiling if self.ceiling else 0.0

    @property
    def share_of_cpu(self) -> float:
        """What the ceiling needs of the processor for an answer, as a share of what this does.

        Other work on the machine disturbs it less than answers a second.
        """
        return self.ceiling_cpu / self.cpu if self.cpu else 0.0


class Figures:
    """All of one run, in the order of measuring."""

    def __init__(self, found: Iterable[Figure] = ()) -> None:
        self.found = list(found)

    def add(self, figure: Figure) -> Figure:
        """Take one more."""
        figure = msgspec.structs.replace(figure, busy=os.getloadavg()[0])
        self.found.append(figure)
        return figure

    def of(self, part: str, **wanted: object) -> list[Figure]:
        """Those of a part whose fields have these values."""
        return [
            one
            for one in self.found
            if one.part == part and all(getattr(one, name) == wanted[name] for name in wanted)
        ]

    def keep(self, folder: Path) -> None:
        """Write them down; those of parts that this run left out stay as they are there."""
        measured = {one.part for one in self.found}
        old = [one for one in read(folder).found if one.part not in measured]
        folder.mkdir(parents=True, exist_ok=True)
        lines = [msgspec.json.encode(one) for one in [*old, *self.found]]
        (folder / FILE).write_bytes(b"[\n" + b",\n".join(lines) + b"\n]\n")


def read(folder: Path) -> Figures:
    """Those of earlier runs; none when there was none."""
    path = folder / FILE
    if not path.exists():
        return Figures()
    return Figures(msgspec.json.decode(path.read_bytes(), type=list[Figure]))


def middle(values: Sequence[float]) -> float:
    """The median; 0 of nothing."""
    return statistics.median(values) if values else 0.0


def heading(title: str, columns: Sequence[tuple[str, int]]) -> None:
    """Print the title of a table, how busy the machine is, and the names of its columns."""
    clock = time.strftime("%H:%M", time.gmtime())
    print(f"\n{title} (load average {os.getloadavg()[0]:.1f} at {clock} UTC)")
    line(columns, [name for name, _ in columns])


def line(columns: Sequence[tuple[str, int]], values: Sequence[str]) -> None:
    """Print values under their columns; a negative width puts them to the left."""
    cells = [
        f"{value:<{-width}}" if width < 0 else f"{value:>{width}}"
        for value, (_, width) in zip(values, columns, strict=True)
    ]
    print("".join(cells).rstrip(), flush=True)
