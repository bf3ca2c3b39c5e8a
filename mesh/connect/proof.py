"""Proof: how far a rotation has come, by what the workloads acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from mesh.errors import Conflict
from mesh.registry.authority import Report, Trust
from mesh.registry.workloads import Ack

SHOWN_MAX = 10
Phase = Literal["steady", "prepared", "activated"]


class Count(msgspec.Struct, frozen=True):
    """Of so many workloads, those that are not as they should be yet."""

    total: int
    lacking: list[str]

    @property
    def have(self) -> int:
        """How many are."""
        return self.total - len(self.lacking)

    def check(self, threshold: float, what: str) -> None:
        """Raise Conflict, saying whom to wait for, when fewer than this share are."""
        if not self.lacking or self.have >= threshold * self.total:
            return
        raise Conflict(
            f"{self.have} of {self.total} workloads {what}, and {threshold:.0%} are wanted; not "
            f"yet {self.named()}. Wait for them, or lower the threshold, or force it"
        )

    def named(self) -> str:
        """Who is not, for people."""
        more = len(self.lacking) - SHOWN_MAX
        return ", ".join(self.lacking[:SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


class RootProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is with a root."""

    id: str
    standing: str
    believed: int
    """Workloads that believe it."""
    leaves: int
    """Workloads with a leaf under it."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a rotation has come."""

    phase: Phase
    workloads: int
    roots: list[RootProgress]
    waiting: list[str]
    """Workloads that the next step waits for."""
    next: str
    """What to do, for people."""


def believing(reports: Iterable[Report], root: str) -> Count:
    """Which workloads do not believe a root."""
    return _count(reports, lambda ack: root in ack.roots)


def independent(reports: Iterable[Report], active: str, *, leaves: bool) -> Count:
    """Which workloads need another root than the active one, for their leaf or that of others.

    Without `leaves` no leaf under another root can be alive.
    """
    return _count(reports, lambda ack: active in ack.roots and (not leaves or ack.leaf == active))


def _count(reports: Iterable[Report], content: Callable[[Ack], bool]) -> Count:
    lacking, total = [], 0
    for report in reports:
        total += len(report.acks)
        lacking += [f"{ack.id} on {report.node}" for ack in report.acks if not content(ack)]
    return Count(total, lacking)


def progress(trust: Trust, reports: list[Report], now: float) -> Progress:
    """How far it is."""
    acks = [ack for report in reports for ack in report.acks]
    roots = [
        RootProgress(
            id=root.id,
            standing=root.standing,
            believed=sum(root.id in ack.roots for ack in acks),
            leaves=sum(root.id == ack.leaf for ack in acks),
        )
        for root in trust.roots
    ]
    prepared = next((root.id for root in trust.roots if root.standing == "prepared"), "")
    past = [root for root in trust.roots if root.standing == "past"]
    phase: Phase = "prepared" if prepared else "activated" if past else "steady"
    if prepared:
        waiting = believing(reports, prepared).lacking
        step = "activate" if not waiting else "wait until all workloads believe the prepared root"
    elif past:
        over = all(root.past_since + root.leaf_ttl <= now for root in past)
        waiting = independent(reports, trust.active, leaves=not over).lacking
        step = "retire" if not waiting else "wait until no workload needs a past root"
    else:
        waiting, step = [], "prepare, when another root is wanted"
    return Progress(phase=phase, workloads=len(acks), roots=roots, waiting=waiting, next=step)
