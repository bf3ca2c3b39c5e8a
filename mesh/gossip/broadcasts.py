"""Broadcasts: what is still to be passed on, the least transmitted first."""

from __future__ import annotations

import math
from collections.abc import Callable

QUEUE_MAX = 4096


class _Item:
    __slots__ = ("body", "done", "name", "order", "sent")

    def __init__(self, name: str, body: bytes, done: Callable[[], None] | None, order: int) -> None:
        self.name, self.body, self.done, self.order = name, body, done, order
        self.sent = 0


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
        self._count = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, name: str, body: bytes, done: Callable[[], None] | None = None) -> None:
        """Queue an encoded message; `done` is called once it needs no more sending."""
        self._count += 1
        self._finish(name)
        self._items[name] = _Item(name, body, done, self._count)
        if len(self._items) > QUEUE_MAX:
            self._finish(max(self._items.values(), key=lambda item: item.sent).name)

    def _finish(self, name: str) -> None:
        old = self._items.pop(name, None)
        if old is not None and old.done is not None:
            old.done()

    def draw(self, budget: int, overhead: int, members: int, most: int = 200) -> list[bytes]:
        """Messages that fit into budget bytes, each costing overhead more; counts them as sent."""
        if not self._items:
            return []
        limit = transmissions(self._multiplier, members)
        order = sorted(
            self._items.values(), key=lambda item: (item.sent, -len(item.body), -item.order)
        )
        drawn: list[bytes] = []
        for item in order:
            cost = len(item.body) + overhead
            if cost > budget or len(drawn) >= most:
                continue
            budget -= cost
            drawn.append(item.body)
            item.sent += 1
            if item.sent >= limit:
                self._finish(item.name)
        return drawn
