"""Order: a mapping of many items in many small dicts, which follow one another by their keys.

A dict of a million rows has 40 MB in one piece. Each time it grows all of that is new memory, and
this takes 30 to 150 ms; to sort, copy or free it holds up every thread as well. Of an Order no part
is large: it is read in order without sorting it all, copied at once, and freed bit by bit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import (
    Hashable,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    ValuesView,
)
from itertools import chain
from typing import Any, Generic, TypeVar

ORDERED_MIN = 1024
"""A mapping of so many items is kept in order; to sort a smaller one takes no time."""
CHUNK = 512
"""Items are in chunks of up to twice as many; to put or remove one moves no more than that."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Order(MutableMapping[K, V], Generic[K, V]):
    """As a dict, but its keys, which compare, ascend. An access searches among the chunks first.

    Chunks are dicts, for the cycle collector does not look into a dict of texts and rows; with
    lists of a million keys it would stop the server for 25 ms. One that a key was put into is
    sorted when it is next read as a whole.
    """

    __slots__ = ("_borders", "_chunks", "_count", "_own", "_sorted")

    def __init__(self, items: Mapping[K, V]) -> None:
        keys: list[Any] = sorted(items)
        starts = range(0, len(keys), CHUNK) or range(1)
        self._chunks: list[dict[K, V]] = [
            {key: items[key] for key in keys[first : first + CHUNK]} for first in starts
        ]
        self._borders = keys[CHUNK::CHUNK]
        """The keys of each chunk but the first are from its border on."""
        self._sorted = bytearray(b"\1" * len(self._chunks))
        self._own = bytearray(self._sorted)
        """Which chunks nobody else has, see `pin`."""
        self._count = len(keys)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(self.parts())

    def __contains__(self, key: object) -> bool:
        return key in self._chunks[bisect_right(self._borders, key)]

    def __getitem__(self, key: K) -> V:
        return self._chunks[bisect_right(self._borders, key)][key]

    def __setitem__(self, key: Any, value: V) -> None:
        place = bisect_right(self._borders, key)
        chunk = self._chunks[place] if self._own[place] else self._copied(place)
        if key in chunk:
            chunk[key] = value
            return
        if chunk and key < next(reversed(chunk)):
            self._sorted[place] = 0
        chunk[key] = value
        self._count += 1
        if len(chunk) > 2 * CHUNK:
            self._split(place)

    def __delitem__(self, key: K) -> None:
        place = bisect_right(self._borders, key)
        chunk = self._chunks[place] if self._own[place] else self._copied(place)
        del chunk[key]
        self._count -= 1
        if not chunk and self._borders:
            del self._chunks[place], self._sorted[place], self._own[place]
            del self._borders[max(place - 1, 0)]

    def get(self, key: K, default: Any = None) -> Any:
        """The value of the key, or the default."""
        return self._chunks[bisect_right(self._borders, key)].get(key, default)

    def values(self) -> ValuesView[V]:
        """The values, in the order of keys."""
        return _Values(self)

    def items(self) -> ItemsView[K, V]:
        """The items, in the order of keys."""
        return _Items(self)

    def parts(self, prefix: str = "") -> Iterator[Mapping[K, V]]:
        """All items in order, some at a time; only those whose keys, texts, begin so.

        Nothing may be written before the last one was looked at.
        """
        if not prefix:
            yield from map(self._in_order, range(len(self._chunks)))
            return
        first = bisect_right(self._borders, prefix)
        for place in range(first, len(self._chunks)):
            if place > first and not self._borders[place - 1].startswith(prefix):
                return
            yield beginning(self._in_order(place), prefix)

    def pin(self) -> list[Mapping[K, V]]:
        """All items as they are now, in mappings that nobody changes: each is below the next.

        Takes no longer for many; whichever of them is written to next is copied then.
        """
        self._own = bytearray(len(self._chunks))
        return [*self._chunks]

    def discard(self) -> Iterator[None]:
        """Free the items, a little at each step; those that somebody pinned stay with them."""
        chunks = self._chunks
        Order.__init__(self, {})
        while chunks:
            chunks.pop()
            yield

    def _copied(self, place: int) -> dict[K, V]:
        chunk = self._chunks[place] = self._chunks[place].copy()
        self._own[place] = 1
        return chunk

    def _in_order(self, place: int) -> dict[K, V]:
        if not self._sorted[place]:
            self._chunks[place] = in_order(self._chunks[place])
            self._sorted[place] = self._own[place] = 1
        return self._chunks[place]

    def _split(self, place: int) -> None:
        items = list(self._in_order(place).items())
        # Those that come in order, as out of a snapshot, leave full chunks behind.
        cut = len(items) - 1 if place == len(self._borders) else CHUNK
        self._chunks[place : place + 1] = dict(items[:cut]), dict(items[cut:])
        self._borders.insert(place, items[cut][0])
        self._sorted.insert(place, 1)
        self._own.insert(place, 1)


class _Values(ValuesView[V]):
    _mapping: Order[Any, V]

    def __iter__(self) -> Iterator[V]:
        return chain.from_iterable(part.values() for part in self._mapping.parts())


class _Items(ItemsView[K, V]):
    _mapping: Order[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return chain.from_iterable(part.items() for part in self._mapping.parts())


def fitted(items: MutableMapping[K, V]) -> MutableMapping[K, V]:
    """The same items: in an Order while there are many, else in a dict."""
    if isinstance(items, dict):
        return Order(items) if len(items) >= ORDERED_MIN else items
    return items if len(items) >= ORDERED_MIN // 2 else dict(items)


def parts(items: Mapping[K, V], prefix: str = "") -> Iterable[Mapping[K, V]]:
    """As `Order.parts`, of an Order or a dict."""
    if isinstance(items, Order):
        return items.parts(prefix)
    return (beginning(in_order(items), prefix),)


def pinned(items: Mapping[K, V]) -> list[Mapping[K, V]]:
    """As `Order.pin`, of an Order or a small dict."""
    return items.pin() if isinstance(items, Order) else [dict(items)]


def in_order(items: Mapping[K, V]) -> dict[K, V]:
    """A few items, sorted by their keys."""
    return {key: items[key] for key in sorted(items)}  # type: ignore[type-var]  # They compare.


def beginning(items: dict[Any, V], prefix: str) -> dict[Any, V]:
    """Those of items in order whose keys begin so; not always in a dict of its own."""
    if not prefix or not items:
        return items
    if next(iter(items)).startswith(prefix) and next(reversed(items)).startswith(prefix):
        return items
    return {key: value for key, value in items.items() if key.startswith(prefix)}
