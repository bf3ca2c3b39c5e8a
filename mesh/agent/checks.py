"""Checks: how results become a status, without I/O; time and results go in, a verdict comes out."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

Side = Literal["head", "tail"]


class Result(msgspec.Struct, frozen=True):
    """What one run of a check found. `keep` says which end of a long output matters."""

    status: str
    output: str
    keep: Side = "tail"


class Thresholds(msgspec.Struct, frozen=True):
    """How many equal results in a row it takes to change the status."""

    success_before_passing: int = 0
    failures_before_warning: int = 0
    failures_before_critical: int = 0

    @property
    def until_warning(self) -> int:
        """Failures that make it warning; the same as for critical when not set."""
        return self.failures_before_warning or self.failures_before_critical


class Judge:
    """The status of one check. The first result counts at once, later ones by the thresholds.

    A warning result is a success of its kind. Nothing else moves the status.
    """

    def __init__(self, thresholds: Thresholds, status: str) -> None:
        self._thresholds = thresholds
        self.status = status
        self._successes = self._failures = 0
        self._fresh = True

    def judge(self, result: Result) -> str:
        """Count a result; returns the status."""
        if result.status == "critical":
            self._failures, self._successes = self._failures + 1, 0
            self.status = self._failed()
        else:
            self._successes, self._failures = self._successes + 1, 0
            if self._fresh or self._successes >= self._thresholds.success_before_passing:
                self.status = result.status
        self._fresh = False
        return self.status

    def _failed(self) -> str:
        if self._fresh or self._failures >= self._thresholds.failures_before_critical:
            return "critical"
        if self._failures >= self._thresholds.until_warning:
            return "warning"
        return self.status


class CriticalClock:
    """Since when a check is critical, and when its service is to be deregistered for it.

    `seconds` is how long it may be; 0 for ever. `since` is infinite while it is not critical.
    """

    def __init__(self, seconds: float, since: float = math.inf) -> None:
        self._seconds = seconds
        self.since = since

    def observe(self, status: str, now: float) -> None:
        """Note the status; anything but critical starts the clock anew."""
        if status != "critical":
            self.since = math.inf
        elif self.since == math.inf:
            self.since = now

    def expired(self, now: float) -> bool:
        """Whether it has been critical for too long."""
        return self._seconds > 0 and now - self.since >= self._seconds


def shorten(result: Result, limit: int) -> str:
    """The output, cut to so many bytes at the end that matters less."""
    data = result.output.encode()
    if len(data) <= limit:
        return result.output
    if result.keep == "head":
        kept = data[:limit].decode(errors="ignore")
        return f"{kept} (captured {limit} of {len(data)} bytes)"
    kept = data[len(data) - limit :].decode(errors="ignore")
    return f"Captured {limit} of {len(data)} bytes\n...\n{kept}"
