"""Long work on many rows in small steps, so that another thread may rest between them."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from mesh.store.table import Content

STEP_ITEMS = 256  # Rows or marks of one step,
STEP_BYTES = 32 << 10  # or fewer, once they have so many bytes.
PART_ITEMS = 512  # Sorted at once, about, as long as there are no more than
PARTS_MAX = 4096  # of such parts.
_SCATTER = 2_654_435_761  # A prime near 2**32 divided by the golden ratio.

T = TypeVar("T")


def sample(count: int) -> list[int]:
    """Places whose keys divide so many items into parts: scattered, for keys may come in turns."""
    return [step * _SCATTER % count for step in range(min(count // PART_ITEMS, PARTS_MAX))]


def drained(items: list[T]) -> Iterator[T]:
    """The items, the last ones first; the list shrinks with them."""
    while items:
        last = items[-STEP_ITEMS:]
        del items[-STEP_ITEMS:]
        yield from reversed(last)


def in_order(items: Iterator[T], keys: list[Any], key: Callable[[T], Any]) -> Iterator[list[T]]:
    """The items sorted, in parts: one long sort would hold up every other thread.

    `keys` are some that divide the items about evenly; where depends on what happened to the
    table, so nothing but the order may be seen by others. Empty parts come while work is done.
    """
    borders = sorted(keys)
    parts: list[list[T]] = [[] for _ in range(len(borders) + 1)]
    while step := list(islice(items, STEP_ITEMS)):
        for item in step:
            parts[bisect(borders, key(item))].append(item)
        yield []
    parts.reverse()
    while parts:
        part = parts.pop()
        part.sort(key=key)
        yield part


def freed(contents: Mapping[str, Content[Any]]) -> Iterator[None]:
    """Free what these tables hold, a little at each step."""
    for content in contents.values():
        marks = content.marks.values()
        held: list[dict[Any, Any]] = [content.rows, *(each.filled for each in marks)]
        for buckets in content.buckets.values():
            held += (*buckets.values(), buckets)
            yield
        for each in held:
            while each:
                for _ in range(min(STEP_ITEMS, len(each))):
                    each.popitem()
                yield
        for order in content.orders.values():
            yield from order.discard()
