"""Goals: what has to be reached, and whether this run did."""

from __future__ import annotations

from typing import NamedTuple

from bench.discovery.costs import FIRST_CPU_MICROSECONDS
from bench.discovery.figures import Figure, Figures, heading, line

SHARES = (
    ("dns", "A", "server", 0.75),
    ("dns", "A", "agent", 0.75),
    ("dns", "SRV", "server", 0.6),
    ("dns", "SRV", "agent", 0.6),
    ("http", "health default", "server", 0.6),
    ("http", "health stale", "agent", 0.6),
    ("http", "health cached", "agent", 0.6),
    ("http", "KV default", "server", 0.75),
)
"""Of the ceiling, at 20 instances and 32 connections; half of it while what is read changes."""
IDLE_MEGABYTES = 94.0
GROWTH = 1.25
"""How much dearer an answer may be with 100,000 instances than with 100, in any one run."""
COLUMNS = (("goal", -44), ("reached", 8), ("wanted", 10), ("", 8), ("by CPU", 8))


class Goal(NamedTuple):
    """Something to reach."""

    title: str
    reached: float
    wanted: float
    most: bool
    """Whether `wanted` is the most that is allowed, not the least."""
    of_cpu: float = 0.0
    """The share that the processor time of answers gives."""

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.reached <= self.wanted if self.most else self.reached >= self.wanted


def tell(found: Figures) -> None:
    """Print the goals of what was measured."""
    reached = [*_shares(found), *_late(found), *_costs(found)]
    if not reached:
        return
    heading("Goals", COLUMNS)
    for goal in reached:
        bound = f"{'<=' if goal.most else '>='} {goal.wanted:.4g}"
        missed, of_cpu = "" if goal.met else "MISSED", f"{goal.of_cpu:.2f}" if goal.of_cpu else ""
        line(COLUMNS, [goal.title, f"{goal.reached:.3g}", bound, missed, of_cpu])


def _shares(found: Figures) -> list[Goal]:
    goals = []
    for part, what, of, least in SHARES:
        size, connections = (20, 0) if part == "dns" else (0, 32)
        wanted = {"what": what, "of": of, "size": size, "connections": connections}
        for one in found.of(part, **wanted):
            if one.ceiling:
                title = f"{'DNS ' if part == 'dns' else ''}{what}, {of}"
                half = least / 2 if one.changing else least
                changing = ", while it changes" if one.changing else ""
                goals.append(Goal(title + changing, one.share, half, False, one.share_of_cpu))
    return goals


def _late(found: Figures) -> list[Goal]:
    """p99 of mesh beside Consul's, where that is there."""
    goals = []
    for what in ("health default", "KV default"):
        wanted = {"what": what, "connections": 32, "changing": False}
        ours, theirs = (found.of("http", of=of, **wanted) for of in ("server", "consul"))
        if ours and theirs:
            goals.append(Goal(f"{what}, p99 ms beside Consul", ours[0].p99, theirs[0].p99, True))
    return goals


def _costs(found: Figures) -> list[Goal]:
    idle, firsts = found.of("costs", what="idle", of="server"), found.of("firsts", what="DNS A")
    goals = [Goal("idle server, RSS MB", one.extra["RSS MB"], IDLE_MEGABYTES, True) for one in idle]
    goals += [
        Goal("first DNS A answer, CPU us", one.cpu, FIRST_CPU_MICROSECONDS, most=True)
        for one in firsts
        if one.of == "server"
    ]
    catalogs = found.of("growth", what="catalog")
    if len(catalogs) > 1:
        first, last = catalogs[0], catalogs[-1]
        for name in ("first A us", "first health us"):
            title = f"{name}, {last.size:,} against {first.size:,}"
            goals.append(Goal(title, last.extra[name] / first.extra[name], GROWTH, most=True))
        goals += [_dearer(found, what) for what in ("A", "health")]
    return goals


def _dearer(found: Figures, what: str) -> Goal:
    measured: list[Figure] = found.of("growth", what=what)
    first, last = measured[0], measured[-1]
    title = f"kept {what}, CPU, {last.size:,} against {first.size:,}"
    return Goal(title, last.cpu / first.cpu, GROWTH, most=True)
