"""Windows: durations of the last minute, and what they look like."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from mesh.clock import Clock

T = TypeVar("T")

WINDOW_SECONDS = 60.0
SAMPLES_MAX = 4096  # Of one window; with more in a minute it covers less than a minute.


class Summary(msgspec.Struct, frozen=True):
    """Durations within a window, in seconds; all 0 without any. `total`, `sum`: since the start."""

    count: int = 0
    mean: float = 0.0
    min: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    max: float = 0.0
    deviation: float = 0.0
    total: int = 0
    sum: float = 0.0


class Window:
    """Durations of the last minute. `add` may be called from one other thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, float]] = deque(maxlen=SAMPLES_MAX)
        self.total, self.sum = 0, 0.0

    def add(self, seconds: float, now: float | None = None) -> None:
        """Remember a duration that ends now, which is this by the clock if it is given."""
        self._samples.append((self._clock.monotonic() if now is None else now, seconds))
        self.total += 1
        self.sum += seconds

    def merge(self, count: int, seconds: float, samples: Iterable[float]) -> None:
        """Remember so many durations that took so long in all, some of them one by one."""
        now = self._clock.monotonic()
        self._samples.extend((now, one) for one in samples)
        self.total += count
        self.sum += seconds

    def timed(self, work: Callable[..., T], *arguments: object) -> T:
        """Do the work and remember how long it took, failed or not."""
        began = self._clock.monotonic()
        try:
            return work(*arguments)
        finally:
            self.add(self._clock.monotonic() - began)

    def summary(self, seconds: float = WINDOW_SECONDS) -> Summary:
        """What the last seconds look like."""
        since = self._clock.monotonic() - seconds
        found = sorted(took for when, took in list(self._samples) if when >= since)
        if not found:
            return Summary(total=self.total, sum=self.sum)
        mean = math.fsum(found) / len(found)
        return Summary(
            count=len(found),
            mean=mean,
            min=found[0],
            p50=_rank(found, 0.5),
            p90=_rank(found, 0.9),
            p99=_rank(found, 0.99),
            max=found[-1],
            deviation=math.sqrt(math.fsum((one - mean) ** 2 for one in found) / len(found)),
            total=self.total,
            sum=self.sum,
        )


def _rank(ordered: list[float], part: float) -> float:
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]
