"""Time in a simulated world: one line of events, and a clock of its own for each host."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable

Action = Callable[[], None]


class Timeline:
    """True time, and what will happen when. What happened is counted and hashed."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.events = 0
        self.digest = 0
        self._queue: list[tuple[float, int, str, Action]] = []
        self._number = 0

    def after(self, seconds: float, action: Action, label: str = "") -> None:
        """Let it happen later; the label says what it is in the digest."""
        self._number += 1
        heapq.heappush(self._queue, (self.now + seconds, self._number, label, action))

    def next_within(self, end: float) -> bool:
        """Let the next event happen if its time comes until then; whether one did."""
        if not self._queue or self._queue[0][0] > end:
            return False
        when, _, label, action = heapq.heappop(self._queue)
        self.now = max(self.now, when)
        self.events += 1
        self.digest = zlib.crc32(f"{self.now:.9f} {label}".encode(), self.digest)
        action()
        return True

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.next_within(end):
            pass
        self.now = end


class HostClock:
    """The clock of one host: true time, from another start and at its own rate."""

    def __init__(self, timeline: Timeline, offset: float = 0.0, rate: float = 1.0) -> None:
        self._timeline = timeline
        self._offset, self.rate = offset, rate

    def set_rate(self, rate: float) -> None:
        """Run at another rate from now on, without a jump."""
        self._offset = self.monotonic() - rate * self._timeline.now
        self.rate = rate

    def monotonic(self) -> float:
        return self._offset + self.rate * self._timeline.now

    def wall(self) -> float:
        return self.monotonic()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("cores do not wait")
