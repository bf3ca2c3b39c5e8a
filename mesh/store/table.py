"""Tables: rows by primary key, found by named indexes, each bucket knowing when it last changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import msgspec

from mesh.codec import pack
from mesh.store.order import Order

TOMBSTONES_MAX = 4096
ORDERED_MIN = 1024
"""Buckets of so many rows are kept in order; to sort a smaller one takes no time."""

# All rows with one value of one index: (table, index, value). PRIMARY has one row a bucket;
# EVERY has one bucket that holds the whole table.
Bucket: TypeAlias = tuple[str, str, Hashable]
PRIMARY = ""
EVERY = "*"


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row. Its two indexes are log indexes and are set by the transaction that writes it.

    Rows are plain values and never part of a cycle, so the cycle collector need not look at them:
    with a million rows it would stop the server for 35 ms each time.
    """

    history: ClassVar[str] = ""
    """What people call such rows in their history; empty when none is kept."""
    create_index: int = 0
    modify_index: int = 0

    def weight(self) -> int:
        """How many bytes it takes, about."""
        return len(pack(self))


R = TypeVar("R", bound=Row)


class Table(Generic[R]):
    """What a table is: its name, row type, primary key and indexes. It holds no data.

    Keys and index values are strings or tuples of strings. An index function returns every value
    under which the row is found. A cluster below `level` never fills the table, nor do its
    snapshots name it, or an index that `later` gives a level above: the program it may go back to
    does not know it.
    """

    def __init__(
        self,
        name: str,
        kind: type[R],
        key: Callable[[R], Hashable],
        indexes: Mapping[str, Callable[[R], Sequence[Hashable]]],
        *,
        level: int = 1,
        later: Mapping[str, int] = {},
    ) -> None:
        self.name = name
        self.kind = kind
        self.key = key
        self.indexes = dict(indexes)
        self.level = level
        self.later = dict(later)
        self.history = kind.history

    def __repr__(self) -> str:
        return f"Table({self.name})"


class Marks:
    """When each bucket of one index last changed, as log indexes.

    A bucket that has become empty keeps its mark for a while, so that a watcher of it is told how
    far to wait; the oldest such marks fold into `floor`, the mark of every bucket never seen.
    Deterministic: the same log gives the same marks on every server.
    """

    def __init__(self) -> None:
        self.filled: dict[Hashable, int] = {}
        self.emptied: dict[Hashable, int] = {}
        self.floor = 0

    def of(self, value: Hashable) -> int:
        """The log index of the bucket's last change."""
        mark = self.filled.get(value)
        if mark is None:
            mark = self.emptied.get(value, self.floor)
        return mark

    def became_empty(self, value: Hashable, index: int) -> None:
        """Note that the bucket lost its last row at this log index."""
        self.emptied.pop(value, None)
        self.filled.pop(value, None)
        self.emptied[value] = index
        if len(self.emptied) > TOMBSTONES_MAX:
            oldest = next(iter(self.emptied))
            self.floor = max(self.floor, self.emptied.pop(oldest))

    def begin(self, values: Iterable[Hashable], index: int) -> None:
        """Whatever was known: all buckets, of which these hold rows, changed at this log index."""
        self.filled, self.emptied, self.floor = dict.fromkeys(values, index), {}, index


class Content(Generic[R]):
    """The data of one table. Changed only through a transaction."""

    def __init__(self, table: Table[R]) -> None:
        self.table = table
        self.rows: dict[Hashable, R] = {}
        self.buckets: dict[str, dict[Hashable, dict[Hashable, None]]] = {
            name: {} for name in table.indexes
        }
        self.marks: dict[str, Marks] = {name: Marks() for name in (PRIMARY, EVERY, *table.indexes)}
        self.orders: dict[tuple[str, Hashable], Order] = {}
        """The keys of each large bucket."""

    def replace(self, key: Hashable, row: R | None, touched: set[Bucket]) -> None:
        """Put the row, or remove it when None. Adds each bucket whose rows changed."""
        old = self.rows.pop(key, None) if row is None else self.rows.get(key)
        if row is not None:
            self.rows[key] = row
            if old is None:
                self._entered(EVERY, "", self.rows, key)
        elif old is not None:
            self._left(EVERY, "", self.rows, key)
        table = self.table
        touched.add((table.name, PRIMARY, key))
        touched.add((table.name, EVERY, ""))
        for index, values in table.indexes.items():
            before = values(old) if old is not None else ()
            after = values(row) if row is not None else ()
            if before != after:
                self._move(index, key, set(before), set(after))
                touched.update([(table.name, index, value) for value in before])
            for value in after:
                touched.add((table.name, index, value))

    def _move(self, index: str, key: Hashable, before: set[Hashable], after: set[Hashable]) -> None:
        """Have the row in the buckets of other values."""
        buckets = self.buckets[index]
        for value in before - after:
            bucket = buckets[value]
            del bucket[key]
            self._left(index, value, bucket, key)
            if not bucket:
                del buckets[value]
        for value in after - before:
            bucket = buckets.setdefault(value, {})
            bucket[key] = None
            self._entered(index, value, bucket, key)

    def _entered(
        self, index: str, value: Hashable, bucket: Mapping[Hashable, object], key: Hashable
    ) -> None:
        """Keep the order of a bucket that has a key more."""
        if len(bucket) < ORDERED_MIN:
            return
        order = self.orders.get((index, value))
        if order is not None:
            order.add(key)
        else:
            self.orders[index, value] = Order(bucket)

    def _left(
        self, index: str, value: Hashable, bucket: Mapping[Hashable, object], key: Hashable
    ) -> None:
        """Keep the order of a bucket that has a key less."""
        order = self.orders.get((index, value))
        if order is None:
            return
        if len(bucket) < ORDERED_MIN:
            del self.orders[index, value]
        else:
            order.remove(key)

    def load(self, rows: Iterable[R]) -> None:
        """Put rows that are not there yet, as they are, without marks."""
        table = self.table
        for row in rows:
            key = table.key(row)
            self.rows[key] = row
            if len(self.rows) >= ORDERED_MIN:
                self._entered(EVERY, "", self.rows, key)
            for name, values in table.indexes.items():
                buckets = self.buckets[name]
                for value in values(row):
                    if (bucket := buckets.get(value)) is None:
                        bucket = buckets[value] = {}
                    if key in bucket:
                        continue  # An index may name a value twice.
                    bucket[key] = None
                    if len(bucket) >= ORDERED_MIN:
                        self._entered(name, value, bucket, key)

    def mark(self, index: str, value: Hashable) -> int:
        """The log index at which the bucket changed last."""
        row = self.rows.get(value) if index == PRIMARY else None
        return self.marks[index].of(value) if row is None else row.modify_index

    def changed(self, index: str, value: Hashable, log_index: int) -> bool:
        """Note that the bucket was changed by the log entry at this index, unless it is empty.

        False when it is: `emptied` notes that, and in which order counts.
        """
        marks = self.marks[index]
        if index == PRIMARY:
            if value not in self.rows:
                return False
        elif index == EVERY:
            if not self.rows:
                return False
            marks.filled[value] = log_index
        else:
            if value not in self.buckets[index]:
                return False
            marks.filled[value] = log_index
        if marks.emptied:
            marks.emptied.pop(value, None)  # A row itself has its mark.
        return True

    def emptied(self, index: str, value: Hashable, log_index: int) -> None:
        """Note that the bucket became empty by the log entry at this index."""
        self.marks[index].became_empty(value, log_index)

    def keys(self, index: str, value: Hashable) -> Iterable[Any]:
        """The primary keys of the rows of a bucket, in order."""
        order = self.orders.get((index, value))
        if order is not None:
            return order
        keys: Any = self.rows if index == EVERY else self.buckets[index].get(value, ())
        return sorted(keys)

    def select(self, index: str, value: Hashable) -> Iterator[R]:
        """The rows of a bucket, ordered by primary key."""
        return map(self.rows.__getitem__, self.keys(index, value))
