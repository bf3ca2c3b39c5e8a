"""Pools of thousands in virtual time: what they cost to simulate, and how they find who died."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from statistics import median

import msgspec
import pytest

from mesh.gossip.options import Options
from tests.gossip.sim.scale import Figures, Plan
from tests.gossip.sim.scale import run as simulate
from tests.gossip.sim.switches import LIFEGUARD

# Members, deaths, and the seconds of CPU that 60 virtual ones may take.
SIZES = ((1000, 10, 6.0), (5000, 5, 30.0), (10_000, 10, 90.0))
LOSSES = (0.0, 0.01, 0.05, 0.2)
SLOW = Plan(
    members=128,
    kills=2,
    held=8,
    held_seconds=16.0,
    held_every=24.0,
    seconds=120.0,
    options=Options(suspicion_mult=5),
)
HEAD = (
    f"{'':34}{'CPU':>8}{'first':>8}{'all':>8}{'worst':>8}{'false':>8}"
    f"{'packets/s':>11}{'bytes/s':>9}{'MB':>6}"
)


def run() -> bool:
    """Print the figures; whether the simulations took no longer than they may."""
    print("Deaths are found after (first), by all (all, worst): virtual seconds, medians.")
    print("false: verdicts about healthy members. Packets and bytes: of each member.")
    print(HEAD)
    met = True
    for members, kills, seconds in SIZES:
        figures = _apart(1, Plan(members=members, kills=kills))
        met &= figures.cpu_seconds <= seconds
        _print(f"{members:,} members, {kills} die (goal {seconds:.0f} s)", figures)
    for loss in LOSSES:
        _print(f"1,000, loss {loss:.0%}", _apart(2, Plan(members=1000, kills=10, loss=loss)))
    _print("128, 8 slow, with Lifeguard", _apart(3, SLOW))
    _print("128, 8 slow, without", _apart(3, SLOW, without_lifeguard=True))
    again = Plan(members=1000, kills=3, seconds=20.0)
    same = _apart(4, again).digest == _apart(4, again).digest
    print(f"the same seed gives the same trace: {'yes' if same else 'NO'}")
    return met and same


def _apart(seed: int, plan: Plan, *, without_lifeguard: bool = False) -> Figures:
    # In a process of its own: memory and time are those of this run.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        encoded = pool.apply(_simulate, (seed, plan, without_lifeguard))
    return msgspec.msgpack.decode(encoded, type=Figures)


def _simulate(seed: int, plan: Plan, without_lifeguard: bool) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        for switch in LIFEGUARD if without_lifeguard else ():
            switch(patch)
        return msgspec.msgpack.encode(simulate(seed, plan))


def _print(title: str, figures: Figures) -> None:
    print(
        f"{title:34}{figures.cpu_seconds:7.1f}s{_middle(figures.first_seconds):8.1f}"
        f"{_middle(figures.all_seconds):8.1f}{max(figures.all_seconds):8.1f}"
        f"{figures.false_verdicts:8,}{figures.packets_per_member:11.1f}"
        f"{figures.bytes_per_member:9,.0f}{figures.resident_mb:6.0f}",
        flush=True,
    )


def _middle(values: Sequence[float]) -> float:
    return median(values)
