"""Rounds: how long and how often a load is measured, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from bench.discovery.asking import Heard
from bench.discovery.figures import Figure
from bench.node import Node

OURS = ("server", "agent", "consul")
"""Those that follow writes, and are measured while they come."""

Load = Callable[[Node, float], Heard]
"""Asks a node for so many seconds."""


class Rounds(NamedTuple):
    """Each load is warmed up for a second, then measured so often.

    The round with the most answers counts, since other work on the machine can only take some away.
    """

    seconds: float
    times: int

    def measure(self, about: Figure, asked: Node, load: Load) -> Figure:
        """The figure with all that the load told."""
        load(asked, 1.0)
        heard: list[tuple[Heard, float]] = []
        for _ in range(self.times):
            before = asked.cpu_seconds()
            one = load(asked, self.seconds)
            answers = max(1.0, one.rate * max(1, int(self.seconds)))
            heard.append((one, (asked.cpu_seconds() - before) / answers * 1e6))
        best, cost = max(heard, key=lambda pair: pair[0].rate)
        return msgspec.structs.replace(
            about,
            rate=best.rate,
            bytes=best.bytes,
            cpu=cost,
            spread=best.spread,
            p50=best.at(50),
            p99=best.at(99),
            p999=best.at(99.9),
        )


def text_of_rate(one: Figure | None) -> list[str]:
    """Answers a second and the share of the ceiling, for a table."""
    if one is None:
        return ["", ""]
    return [f"{one.rate:,.0f}", f"{one.share:.2f}" if one.ceiling else "-"]


def text_of_times(one: Figure | None) -> list[str]:
    """Three percentiles in milliseconds, for a table."""
    times = (one.p50, one.p99, one.p999) if one is not None else ()
    return [f"{time:.2f}" for time in times] or [""] * 3
