"""Long work on many rows in small steps, so that another thread may rest between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

from mesh.store.order import Order, in_order
from mesh.store.table import Content

STEP_ITEMS = 256  # Rows or marks of one step,
STEP_BYTES = 32 << 10  # or fewer, once they have so many bytes.

K = TypeVar("K")
V = TypeVar("V")


def drained(pins: list[Mapping[K, V]]) -> Iterator[Mapping[K, V]]:
    """What was pinned, in order, some items at a time; the list lets go of them."""
    pins.reverse()
    while pins:
        yield in_order(pins.pop())


def freed(contents: Mapping[str, Content[Any]]) -> Iterator[None]:
    """Free what these tables hold, a little at each step."""
    for content in contents.values():
        for buckets in content.buckets.values():
            cleared = 0
            for bucket in buckets.values():
                cleared += len(bucket)
                yield from _emptied(bucket)
                if cleared >= STEP_ITEMS:
                    cleared = 0
                    yield
            yield from _emptied(buckets)
        for items in (content.rows, *(marks.filled for marks in content.marks.values())):
            yield from _emptied(items)
            yield


def _emptied(items: MutableMapping[Any, Any]) -> Iterator[None]:
    if isinstance(items, Order):
        yield from items.discard()
    else:
        items.clear()  # It is small.
