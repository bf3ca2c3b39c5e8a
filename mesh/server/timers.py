"""Timers: when each of many names is due, at the cost of one heap entry a name."""

from __future__ import annotations

import heapq
import math

SPARE = 1024
"""Entries of names that are gone, beside as many as there are names, before they are cleared."""


class Timers:
    """Due times by name. Times are those of whatever clock the caller reads.

    A timer that is put off keeps its place in the heap, and is put into the right one only when
    that comes up: so putting off costs no more than writing to a dict.
    """

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, name: str) -> bool:
        return name in self._due

    def start(self, name: str, due: float) -> None:
        """Let the name be due then, and at no other time."""
        if due < self._due.get(name, math.inf):
            heapq.heappush(self._heap, (due, name))
        self._due[name] = due

    def cancel(self, name: str) -> None:
        """The name is never due."""
        self._due.pop(name, None)
        if len(self._heap) > 2 * len(self._due) + SPARE:
            self._heap = [(due, one) for one, due in self._due.items()]
            heapq.heapify(self._heap)

    def clear(self) -> None:
        """Forget all."""
        self._due.clear()
        self._heap.clear()

    def next(self) -> float:
        """A time before which nothing is due; infinite when there is no timer."""
        return self._heap[0][0] if self._heap else math.inf

    def take(self, now: float, limit: int) -> list[str]:
        """The names that are due, the earliest first, not more than the limit; they end here."""
        found: list[str] = []
        while self._heap and self._heap[0][0] <= now and len(found) < limit:
            at, name = self._heap[0]
            due = self._due.get(name)
            if due is not None and due > at:
                heapq.heapreplace(self._heap, (due, name))
                continue
            heapq.heappop(self._heap)
            if due is not None:
                del self._due[name]
                found.append(name)
        return found
