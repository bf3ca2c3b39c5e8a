"""Broadcasts: what is still to be passed on, the least transmitted first."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

QUEUE_MAX = 4096

T = TypeVar("T")


class _Item(Generic[T]):
    __slots__ = ("body", "done", "name", "place", "size")

    def __init__(self, name: str, body: T, size: int, done: Callable[[], None] | None) -> None:
        self.name, self.body, self.size, self.done = name, body, size, done
        self.place: _Place[T]


# (times sent, -bytes, -order of arrival, the item): the order of sending. Items are not compared.
_Place: TypeAlias = tuple[int, int, int, _Item[T]]


def transmissions(multiplier: int, members: int) -> int:
    """How often a broadcast is sent in a pool of this size: multiplier x ceil(log10(n + 1))."""
    return multiplier * math.ceil(math.log10(members + 1))


class Broadcasts(Generic[T]):
    """A queue limited by transmissions. A newer item of the same name replaces the older one.

    `size` gives the bytes that a body takes. Beyond `limit` items the most transmitted ones are
    dropped.
    """

    def __init__(self, multiplier: int, size: Callable[[T], int]) -> None:
        self._multiplier, self._size = multiplier, size
        self.items: dict[str, _Item[T]] = {}  # By name; for others only whether there are any.
        self._sorted: list[_Place[T]] = []
        self._bytes = 0
        self._count = 0
        self.limit = QUEUE_MAX

    def __len__(self) -> int:
        return len(self.items)

    def add(self, name: str, body: T, done: Callable[[], None] | None = None) -> None:
        """Queue a message; `done` is called once it needs no more sending."""
        finished = []
        old = self.items.get(name)
        if old is not None:
            del self._sorted[bisect.bisect_left(self._sorted, old.place)]
            finished.append(self._forget(old))
        self._count += 1
        item = _Item(name, body, self._size(body), done)
        item.place = (0, -item.size, -self._count, item)
        self.items[name] = item
        self._bytes += item.size
        bisect.insort(self._sorted, item.place)
        while len(self.items) > self.limit:
            finished.append(self._forget(self._sorted.pop()[3]))
        _finish(finished)

    def clear(self) -> None:
        """Forget everything that waits, as if it were done."""
        items = [place[3] for place in self._sorted]
        self.items.clear()
        self._sorted, self._bytes = [], 0
        _finish(items)

    def _forget(self, item: _Item[T]) -> _Item[T]:
        del self.items[item.name]
        self._bytes -= item.size
        return item

    def draw(self, budget: int, overhead: int, members: int) -> list[T]:
        """Messages that fit into budget bytes, each costing overhead more; counts them as sent."""
        if not self.items:
            return []
        limit = transmissions(self._multiplier, members)
        if self._bytes + overhead * len(self.items) <= budget:
            # The usual case. All are sent once more, so their order stays.
            drawn = self._sorted
            self._sorted = []
        else:
            drawn = self._take(budget, overhead)
        finished = []
        for sent, size, number, item in drawn:
            if sent + 1 >= limit:
                finished.append(self._forget(item))
                continue
            item.place = (sent + 1, size, number, item)
            if not self._sorted or self._sorted[-1] < item.place:
                self._sorted.append(item.place)
            else:
                bisect.insort(self._sorted, item.place)
        _finish(finished)
        return [place[3].body for place in drawn]

    def _take(self, budget: int, overhead: int) -> list[_Place[T]]:
        drawn = []
        place = 0
        while place < len(self._sorted):
            sent = self._sorted[place][0]
            # The largest one that fits of those sent this often, else the next lot.
            place = bisect.bisect_left(self._sorted, (sent, overhead - budget), place)
            if place < len(self._sorted) and self._sorted[place][0] == sent:
                drawn.append(self._sorted.pop(place))
                budget += drawn[-1][1] - overhead
        return drawn


def _finish(items: list[_Item[T]]) -> None:
    # Last of all: it may add to the queue.
    for item in items:
        if item.done is not None:
            item.done()
