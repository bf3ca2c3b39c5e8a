"""Rounds: how long and how often a load is measured, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from bench.discovery.asking import Heard
from bench.discovery.figures import Figure, middle
from bench.node import Node

OURS = ("server", "agent", "consul")
"""Those that follow writes, and are measured while they come."""

Load = Callable[[Node, float], Heard]
"""Asks a node for so many seconds."""


class Rounds(NamedTuple):
    """Each load is warmed up for a second, then measured so often; medians are taken."""

    seconds: float
    times: int

    def measure(self, about: Figure, asked: Node, load: Load) -> Figure:
        """The figure with all that the load told."""
        load(asked, 1.0)
        heard, costs = [], []
        for _ in range(self.times):
            before = asked.cpu_seconds()
            heard.append(load(asked, self.seconds))
            answers = heard[-1].rate * max(1, int(self.seconds))
            costs.append((asked.cpu_seconds() - before) / answers * 1e6)
        spread = [(part, middle([one.at(part) for one in heard])) for part, _ in heard[0].spread]
        within = dict(spread)
        return msgspec.structs.replace(
            about,
            rate=middle([one.rate for one in heard]),
            bytes=middle([one.bytes for one in heard]),
            cpu=middle(costs),
            spread=spread,
            p50=within.get(50, 0.0),
            p99=within.get(99, 0.0),
            p999=within.get(99.9, 0.0),
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
