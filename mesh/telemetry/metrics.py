"""Metrics: what the parts of a node count and measure, as JSON and as text for Prometheus."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from mesh.clock import Clock
from mesh.telemetry.windows import Window

INTERVAL_SECONDS = 10.0
PREFIX = "mesh"
"""What the names of all metrics begin with, unless the configuration says otherwise."""
QUANTILES = (("0.5", "p50"), ("0.9", "p90"), ("0.99", "p99"))
MILLISECONDS = 1000.0  # Windows hold seconds; what is shown is milliseconds, as in Consul.

Labels = tuple[tuple[str, str], ...]


class Reading(NamedTuple):
    """One metric now. The value of a `summary` is its window, of the others a number."""

    kind: Literal["gauge", "counter", "summary"]
    name: str
    value: float | Window
    meaning: str
    labels: Labels = ()


def gauge(name: str, value: float, meaning: str, **labels: str) -> Reading:
    """A number that goes up and down."""
    return Reading("gauge", name, value, meaning, tuple(sorted(labels.items())))


def counter(name: str, value: float, meaning: str, **labels: str) -> Reading:
    """A number that only grows, from the start of the process on."""
    return Reading("counter", name, value, meaning, tuple(sorted(labels.items())))


def summary(name: str, window: Window, meaning: str, **labels: str) -> Reading:
    """Durations, shown in milliseconds."""
    return Reading("summary", name, window, meaning, tuple(sorted(labels.items())))


def counters(prefix: str, counts: Mapping[str, int], meaning: str) -> list[Reading]:
    """A counter for each of a part's counts."""
    return [counter(f"{prefix}.{name}", counts[name], meaning) for name in sorted(counts)]


class Metrics:
    """All metrics of a node. Sources are asked once an interval, and when somebody asks."""

    def __init__(self, clock: Clock, prefix: str = PREFIX) -> None:
        self._clock, self._prefix = clock, prefix
        self._sources: list[Callable[[], Iterable[Reading]]] = []
        self._began = self._ended = clock.wall()
        self._at_begin: dict[tuple[str, Labels], float] = {}
        self._at_end: dict[tuple[str, Labels], float] = {}
        self._turned = asyncio.Event()

    def add(self, source: Callable[[], Iterable[Reading]]) -> None:
        """Ask this source too."""
        self._sources.append(source)

    def read(self) -> list[Reading]:
        """Every metric now, ordered by name and labels."""
        found = [reading for source in self._sources for reading in source()]
        if self._prefix != PREFIX:
            found = [one._replace(name=self._named(one.name)) for one in found]
        return sorted(found, key=lambda reading: (reading.name, reading.labels))

    def _named(self, name: str) -> str:
        rest = name.removeprefix(f"{PREFIX}.")
        return f"{self._prefix}.{rest}" if self._prefix else rest

    async def run(self) -> None:
        """End an interval every ten seconds, for ever."""
        while True:
            self.turn()
            await self._clock.sleep(INTERVAL_SECONDS)

    def turn(self) -> None:
        """An interval ends and the next one begins."""
        self._began, self._at_begin = self._ended, self._at_end
        self._ended = self._clock.wall()
        self._at_end = {
            (one.name, one.labels): one.value
            for one in self.read()
            if one.kind == "counter" and not isinstance(one.value, Window)
        }
        self._turned.set()
        self._turned = asyncio.Event()

    async def turned(self) -> None:
        """Return when the present interval has ended."""
        await self._turned.wait()

    def report(self) -> dict[str, Any]:
        """In Consul's shape: gauges as they are now, counters and samples of the last interval."""
        gauges, counted, samples = [], [], []
        seconds = max(self._ended - self._began, 1.0)
        for one in self.read():
            labels = dict(one.labels)
            if isinstance(one.value, Window):
                samples.append(_sample(one.name, one.value, labels))
            elif one.kind == "gauge":
                gauges.append({"Name": one.name, "Value": _finite(one.value), "Labels": labels})
            else:
                key = (one.name, one.labels)
                grown = self._at_end.get(key, 0.0) - self._at_begin.get(key, 0.0)
                counted.append(_count(one.name, grown, seconds, labels))
        began = dt.datetime.fromtimestamp(self._began, dt.UTC)
        return {
            "Timestamp": f"{began:%Y-%m-%d %H:%M:%S} +0000 UTC",
            "Gauges": gauges,
            "Points": [],
            "Counters": counted,
            "Samples": samples,
        }

    def exposition(self) -> str:
        """The text that Prometheus reads, version 0.0.4."""
        lines: list[str] = []
        before = ""
        for one in self.read():
            name = one.name.replace(".", "_").replace("-", "_")
            if name != before:
                lines += [f"# HELP {name} {one.meaning}", f"# TYPE {name} {one.kind}"]
                before = name
            if not isinstance(one.value, Window):
                lines.append(f"{name}{_braces(one.labels)} {_number(one.value)}")
                continue
            found = one.value.summary()
            for quantile, field in QUANTILES:
                value = getattr(found, field) * MILLISECONDS if found.count else math.nan
                labels = (*one.labels, ("quantile", quantile))
                lines.append(f"{name}{_braces(labels)} {_number(value)}")
            lines.append(f"{name}_sum{_braces(one.labels)} {_number(found.sum * MILLISECONDS)}")
            lines.append(f"{name}_count{_braces(one.labels)} {found.total}")
        return "\n".join(lines) + "\n"


def _finite(value: float) -> float:
    """JSON has no infinity; -1 is what no gauge of ours can be."""
    return value if math.isfinite(value) else -1.0


def _count(name: str, grown: float, seconds: float, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "Name": name,
        "Count": int(grown),
        "Rate": grown / seconds,
        "Sum": grown,
        "Min": 1.0 if grown else 0.0,
        "Max": 1.0 if grown else 0.0,
        "Mean": 1.0 if grown else 0.0,
        "Stddev": 0.0,
        "Labels": labels,
    }


def _sample(name: str, window: Window, labels: dict[str, str]) -> dict[str, Any]:
    found = window.summary(INTERVAL_SECONDS)
    total = found.mean * found.count * MILLISECONDS
    return {
        "Name": name,
        "Count": found.count,
        "Rate": total / INTERVAL_SECONDS,
        "Sum": total,
        "Min": found.min * MILLISECONDS,
        "Max": found.max * MILLISECONDS,
        "Mean": found.mean * MILLISECONDS,
        "Stddev": found.deviation * MILLISECONDS,
        "Labels": labels,
    }


def _braces(labels: Labels) -> str:
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isfinite(value):
        return str(int(value)) if value == int(value) else repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
