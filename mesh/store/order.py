"""Order: the keys of a large bucket, kept sorted, so that to read it never sorts them all."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Hashable, Iterable, Iterator
from itertools import chain
from typing import Any

CHUNK = 512
"""Keys are in chunks of this many to twice as many; to add one moves no more than that."""


class Order:
    """Distinct keys that can be compared, ascending."""

    __slots__ = ("_chunks", "_lows")

    def __init__(self, keys: Iterable[Hashable]) -> None:
        every: list[Any] = sorted(keys)  # Keys of a table compare.
        self._chunks = [every[first : first + CHUNK] for first in range(0, len(every), CHUNK)]
        # At most the first key of each chunk, and above the last of the one before.
        self._lows = [chunk[0] for chunk in self._chunks]

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self._chunks)

    def add(self, key: Any) -> None:
        """Put a key that is not there."""
        if not self._chunks:
            self._chunks, self._lows = [[key]], [key]
            return
        place = max(bisect_right(self._lows, key) - 1, 0)
        chunk = self._chunks[place]
        if key > chunk[-1]:
            chunk.append(key)
        else:
            insort(chunk, key)
            self._lows[place] = min(self._lows[place], key)
        if len(chunk) > 2 * CHUNK:
            rest = chunk[CHUNK:]
            del chunk[CHUNK:]
            self._chunks.insert(place + 1, rest)
            self._lows.insert(place + 1, rest[0])

    def remove(self, key: Any) -> None:
        """Remove a key that is there."""
        place = max(bisect_right(self._lows, key) - 1, 0)
        chunk = self._chunks[place]
        at = bisect_left(chunk, key)
        assert chunk[at] == key
        del chunk[at]
        if not chunk:
            del self._chunks[place], self._lows[place]

    def discard(self) -> Iterator[None]:
        """Free the keys, a little at each step."""
        while self._chunks:
            self._chunks.pop()
            yield
