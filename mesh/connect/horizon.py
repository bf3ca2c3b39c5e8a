"""The horizon: how long roots and intermediates still live, and how loudly to say so."""

from __future__ import annotations

from typing import Literal

import msgspec

from mesh.registry.authority import Root, Trust

DAY = 86400.0
WARN_DAYS = (60.0, 30.0, 7.0)
SHARES = (1 / 3, 1 / 6, 1 / 12)
"""Of the life of a root that has less than half a year in all."""
Status = Literal["passing", "warning", "critical"]


class Verdict(msgspec.Struct, frozen=True):
    """How it is, and in words. `stage` rises when the end comes nearer."""

    status: Status
    reason: str
    stage: int = 0


def judge(trust: Trust, now: float, problem: str = "") -> Verdict:
    """How the authority fares; `problem` is what failed lately."""
    active = next((root for root in trust.roots if root.id == trust.active), None)
    if active is None:
        return Verdict("warning", f"there is no certificate authority yet{_because(problem)}", 1)
    stage, left = _stage(active.not_before, active.not_after, now), active.not_after - now
    if left <= 0:
        why = "the root has expired: meshctl connect ca recover"
        return Verdict("critical", why, len(WARN_DAYS) + 1)
    if stage:
        status: Status = "critical" if stage == len(WARN_DAYS) else "warning"
        why = f"the root ends in {_days(left)}: meshctl connect ca rotate prepare"
        return Verdict(status, why, stage)
    if (verdict := _of_intermediate(active, now, problem)) is not None:
        return verdict
    if problem:
        return Verdict("warning", problem, 1)
    return Verdict("passing", f"the root is good for {_days(left)}")


def _of_intermediate(root: Root, now: float, problem: str) -> Verdict | None:
    if root.intermediate_brought:
        return _of_brought(root, now)
    if root.intermediate_not_after - now > _quarter(root):
        return None
    ends = _days(max(root.intermediate_not_after - now, 0.0))
    why = f"the intermediate ends in {ends} and is not renewed{_because(problem)}"
    return Verdict("critical", why, 1)


def _of_brought(root: Root, now: float) -> Verdict | None:
    """Nobody renews it but an operator, who hears of it as early as of a root."""
    until = root.intermediate_not_after
    stage = _stage(root.intermediate_not_before, until, now)
    if not stage:
        return None
    when = f"ends in {_days(until - now)}" if until > now else "has ended, no leaf can be signed"
    critical = stage == len(WARN_DAYS)
    return Verdict(
        "critical" if critical else "warning",
        f"the intermediate from outside {when}: give the next one (meshctl connect ca set-config)",
        stage,
    )


def _because(problem: str) -> str:
    return f": {problem}" if problem else ""


def _stage(start: float, end: float, now: float) -> int:
    """How many of the warnings are due."""
    left, life = end - now, end - start
    limits = [min(days * DAY, share * life) for days, share in zip(WARN_DAYS, SHARES, strict=True)]
    return sum(left <= limit for limit in limits)


def _quarter(root: Root) -> float:
    """It is renewed in half time, so with a quarter left something is wrong."""
    return (root.intermediate_not_after - root.intermediate_not_before) / 4


def _days(seconds: float) -> str:
    if seconds < 2 * DAY:
        return f"{seconds / 3600:.0f} hours"
    return f"{seconds / DAY:.0f} days"
