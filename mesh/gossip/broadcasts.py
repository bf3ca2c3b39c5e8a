"""Broadcasts: what is still to be passed on, the least transmitted first."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import TypeAlias

QUEUE_MAX = 4096

# (times sent, -bytes, -order of arrival, name): the order of sending. The name is never compared.
_Key: TypeAlias = tuple[int, int, int, str]


class _Item:
    __slots__ = ("body", "done", "key")

    def __init__(self, body: bytes, done: Callable[[], None] | None, key: _Key) -> None:
        self.body, self.done, self.key = body, done, key


def transmissions(multiplier: int, members: int) -> int:
    """How often a broadcast is sent in a pool of this size: multiplier x ceil(log10(n + 1))."""
    return multiplier * math.ceil(math.log10(members + 1))


class Broadcasts:
    """A queue limited by transmissions. A newer item of the same name replaces the older one.

    Beyond QUEUE_MAX items the most transmitted ones are dropped.
    """

    def __init__(self, multiplier: int) -> None:
        self._multiplier = multiplier
        self._items: dict[str, _Item] = {}
        self._sorted: list[_Key] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, name: str, body: bytes, done: Callable[[], None] | None = None) -> None:
        """Queue an encoded message; `done` is called once it needs no more sending."""
        old = self._items.pop(name, None)
        if old is not None:
            del self._sorted[bisect.bisect_left(self._sorted, old.key)]
        self._count += 1
        item = _Item(body, done, (0, -len(body), -self._count, name))
        self._items[name] = item
        bisect.insort(self._sorted, item.key)
        finished = [old] if old is not None else []
        if len(self._items) > QUEUE_MAX:
            finished.append(self._items.pop(self._sorted.pop()[3]))
        _finish(finished)

    def draw(self, budget: int, overhead: int, members: int) -> list[bytes]:
        """Messages that fit into budget bytes, each costing overhead more; counts them as sent."""
        drawn: list[_Item] = []
        place = 0
        while place < len(self._sorted):
            sent = self._sorted[place][0]
            # The largest one that fits of those sent this often, else the next lot.
            place = bisect.bisect_left(self._sorted, (sent, overhead - budget), place)
            if place < len(self._sorted) and self._sorted[place][0] == sent:
                item = self._items[self._sorted.pop(place)[3]]
                budget -= len(item.body) + overhead
                drawn.append(item)
        self._count_sent(drawn, transmissions(self._multiplier, members))
        return [item.body for item in drawn]

    def _count_sent(self, drawn: list[_Item], limit: int) -> None:
        finished = []
        for item in drawn:
            sent, size, order, name = item.key
            item.key = (sent + 1, size, order, name)
            if sent + 1 >= limit:
                finished.append(self._items.pop(name))
            else:
                bisect.insort(self._sorted, item.key)
        _finish(finished)


def _finish(items: list[_Item]) -> None:
    # Last of all: it may add to the queue.
    for item in items:
        if item.done is not None:
            item.done()
