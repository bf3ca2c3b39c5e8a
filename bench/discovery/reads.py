"""Reads: HTTP from a server and from an agent, beside one constant answer of the same size."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from bench import ceilings
from bench.discovery import asking
from bench.discovery.asking import Heard
from bench.discovery.figures import Figure, Figures, heading, line
from bench.discovery.rounds import OURS, Load, Rounds, text_of_rate, text_of_times
from bench.discovery.stage import KEY, Stage, change_key, change_service, changes
from bench.node import Node

HEALTH = "/v1/health/service/web"
CONNECTIONS = (1, 32, 256)
MODES = ("default", "stale", "cached")
COLUMNS = (
    ("read", -8), ("of", -8), ("", -9), ("conns", 5), ("ceiling/s", 11), ("answers/s", 11),
    ("share", 7), ("CPU ms/10k", 12), ("p50 ms", 8), ("p99", 8), ("p99.9", 8),
    ("changing/s", 12), ("share", 7), ("p50 ms", 8), ("p99", 8), ("p99.9", 8),
)  # fmt: skip


class Read(NamedTuple):
    """Something to read, and the requests that change it."""

    title: str
    path: str
    change: Callable[[int], tuple[str, bytes]]


READS = (Read("health", HEALTH, change_service("web")), Read("KV", KEY, change_key))
GOALS = {("health", "server", "default"), ("health", "agent", "stale"),
         ("health", "agent", "cached"), ("KV", "server", "default")}  # fmt: skip


def measure(stage: Stage, rounds: Rounds, found: Figures, *, goals: bool) -> None:
    """Health and KV at 1, 32 and 256 connections; only what has goals if wanted."""
    loop = "uvloop" if ceilings.knows_uvloop() else "asyncio, since uvloop is not installed"
    heading(f"Reads over HTTP; the ceiling is one constant answer on {loop}", COLUMNS)
    for read in READS:
        with ceilings.constant(len(stage.server.get(read.path))) as constant:
            for connections in (32,) if goals else CONNECTIONS:
                about = Figure("http", read.title, "constant", connections=connections)
                top = found.add(rounds.measure(about, constant, _load(read.path, connections)))
                _print(top, "", None)
                for name in stage.known(*OURS):
                    for mode in MODES:
                        if not goals or (read.title, name, mode) in GOALS:
                            _row(stage, rounds, found, (read, name, mode, top))


def _row(stage: Stage, rounds: Rounds, found: Figures, row: tuple[Read, str, str, Figure]) -> None:
    read, name, mode, top = row
    asked, connections = stage.nodes[name], top.connections
    load = _load(read.path + ("" if mode == "default" else f"?{mode}"), connections)
    about = Figure("http", f"{read.title} {mode}", name, connections=connections)
    about = msgspec.structs.replace(about, ceiling=top.rate, ceiling_cpu=top.cpu)
    still = found.add(rounds.measure(about, asked, load))
    with changes(stage.writable(name), read.change):
        about = msgspec.structs.replace(about, changing=True)
        changed = found.add(rounds.measure(about, asked, load))
    _print(still, mode, changed)


def _load(path: str, connections: int) -> Load:
    def load(asked: Node, seconds: float) -> Heard:
        return asking.http(asked, path, connections, seconds)

    return load


def _print(one: Figure, mode: str, changed: Figure | None) -> None:
    ceiling = f"{one.ceiling:,.0f}" if one.ceiling else "-"
    about = [one.what.split()[0], one.of[:7], mode, str(one.connections), ceiling]
    now = [*text_of_rate(one), f"{one.cpu * 10:.0f}", *text_of_times(one)]
    line(COLUMNS, [*about, *now, *text_of_rate(changed), *text_of_times(changed)])
