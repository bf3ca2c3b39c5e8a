"""Tables: rows by primary key, found by named indexes, each bucket knowing when it last changed."""

from __future__ import annotations

from collections.abc import (
    Callable,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

from mesh.codec import pack
from mesh.store.order import ORDERED_MIN, fitted, parts

if TYPE_CHECKING:
    from mesh.store.joint import Joint

TOMBSTONES_MAX = 4096

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


class OfKey(NamedTuple):
    """An index whose values follow from the primary key alone: no write of a row changes them."""

    values: Callable[[Any], Sequence[Hashable]]


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
        indexes: Mapping[str, Callable[[R], Sequence[Hashable]] | OfKey],
        *,
        level: int = 1,
        later: Mapping[str, int] = {},
    ) -> None:
        self.name = name
        self.kind = kind
        self.key = key
        self.indexes = {
            index: self._through_key(given.values) if isinstance(given, OfKey) else given
            for index, given in indexes.items()
        }
        self.of_key = {
            index: given.values for index, given in indexes.items() if isinstance(given, OfKey)
        }
        self.level = level
        self.later = dict(later)
        self.joint: Joint | None = None
        """With what its rows are read."""
        self.history = kind.history

    def _through_key(
        self, values: Callable[[Any], Sequence[Hashable]]
    ) -> Callable[[R], Sequence[Hashable]]:
        return lambda row: values(self.key(row))

    def __repr__(self) -> str:
        return f"Table({self.name})"


class Marks:
    """When each bucket of one index last changed, as log indexes.

    A bucket that has become empty keeps its mark for a while, so that a watcher of it is told how
    far to wait; the oldest such marks fold into `floor`, the mark of every bucket never seen.
    Deterministic: the same log gives the same marks on every server.
    """

    def __init__(self) -> None:
        self.filled: MutableMapping[Hashable, int] = {}
        self.emptied: dict[Hashable, int] = {}
        self.floor = 0

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
        self.filled, self.emptied, self.floor = fitted(dict.fromkeys(values, index)), {}, index

    def load(self, filled: Mapping[Hashable, int]) -> None:
        """Put marks of buckets that hold rows, as they are."""
        self.filled.update(filled)
        self.filled = fitted(self.filled)


Met: TypeAlias = tuple[Any, tuple[Any, ...], int]
"""A row, others, and the log index at which any of them changed last; see `Joint`."""
_NONE: dict[Hashable, Any] = {}
_KEY = itemgetter(0)


class Content(Generic[R]):
    """The data of one table. Changed only through a transaction."""

    def __init__(self, table: Table[R]) -> None:
        self.table = table
        self.rows: MutableMapping[Hashable, R] = {}
        self.buckets: dict[str, MutableMapping[Hashable, MutableMapping[Hashable, R]]] = {
            name: {} for name in table.indexes
        }
        """The rows by index, value and primary key."""
        self.met: dict[Hashable, Met] = {}
        """What rows were joined with when they were read; see `Joint`."""
        self.marks: dict[str, Marks] = {name: Marks() for name in (PRIMARY, EVERY, *table.indexes)}

    def replace(self, key: Hashable, row: R | None, touched: set[Bucket]) -> None:
        """Put the row, or remove it when None. Adds each bucket whose rows changed."""
        old = self.rows.get(key)
        self._keep(key, row, old)
        table = self.table
        name = table.name
        touched.add((name, PRIMARY, key))
        touched.add((name, EVERY, ""))
        for index, values in table.indexes.items():
            if index in table.of_key:
                both = table.of_key[index](key)
                before = both if old is not None else ()
                after = both if row is not None else ()
            else:
                before = values(old) if old is not None else ()
                after = values(row) if row is not None else ()
            if before != after:
                for value in set(before).difference(after):
                    self._take(index, value, key)
                touched.update([(name, index, value) for value in before])
                if row is not None:
                    self._put(index, after, key, row)
            elif row is not None:
                buckets = self.buckets[index]
                for value in after:
                    buckets[value][key] = row
            for value in after:
                touched.add((name, index, value))

    def _keep(self, key: Hashable, row: R | None, old: R | None) -> None:
        if row is not None:
            self.rows[key] = row
        elif old is not None:
            del self.rows[key]
        if row is None or old is None:
            self.rows = fitted(self.rows)

    def _put(self, index: str, values: Iterable[Hashable], key: Hashable, row: R) -> None:
        """Have the row in the buckets of these values; one may be named twice."""
        buckets = self.buckets[index]
        for value in values:
            bucket = buckets.get(value)
            if bucket is None:
                buckets[value] = {key: row}
                buckets = self.buckets[index] = fitted(buckets)
                continue
            bucket[key] = row
            if isinstance(bucket, dict) and len(bucket) >= ORDERED_MIN:
                buckets[value] = fitted(bucket)

    def _take(self, index: str, value: Hashable, key: Hashable) -> None:
        buckets = self.buckets[index]
        bucket = buckets[value]
        del bucket[key]
        if not bucket:
            del buckets[value]
            self.buckets[index] = fitted(buckets)
        elif (better := fitted(bucket)) is not bucket:
            buckets[value] = better

    def load(self, rows: Iterable[R]) -> None:
        """Put rows as they are, without marks; of two with one key the first stays."""
        table = self.table
        for row in rows:
            key = table.key(row)
            if key in self.rows:
                continue
            self.rows[key] = row
            self.rows = fitted(self.rows)
            for name, values in table.indexes.items():
                self._put(name, values(row), key, row)

    def mark(self, index: str, value: Hashable) -> int:
        """The log index at which the bucket changed last."""
        if index == PRIMARY and (row := self.rows.get(value)) is not None:
            return row.modify_index
        marks = self.marks[index]
        at = marks.filled.get(value)
        return marks.emptied.get(value, marks.floor) if at is None else at

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
            filled = marks.filled
            filled[value] = log_index
            if len(filled) == ORDERED_MIN:
                marks.filled = fitted(filled)
        if marks.emptied:
            marks.emptied.pop(value, None)  # A row itself has its mark.
        return True

    def emptied(self, index: str, value: Hashable, log_index: int) -> None:
        """Note that the bucket became empty by the log entry at this index."""
        self.marks[index].became_empty(value, log_index)

    def parts(
        self, index: str, value: Hashable, prefix: str = ""
    ) -> Iterable[Mapping[Hashable, R]]:
        """The rows of a bucket by primary key, in order, some at a time; see `Order.parts`."""
        return parts(self._bucket(index, value), prefix)

    def items(self, index: str, value: Hashable) -> Iterable[tuple[Any, R]]:
        """The rows of a bucket with their primary keys, by which they are ordered."""
        rows = self._bucket(index, value)
        if type(rows) is dict:
            return sorted(rows.items(), key=_KEY) if len(rows) > 1 else rows.items()
        return chain.from_iterable(part.items() for part in parts(rows))

    def select(self, index: str, value: Hashable, prefix: str = "") -> Iterator[R]:
        """The rows of a bucket, ordered by primary key; only those whose keys begin so."""
        rows = self.rows if index == EVERY else self.buckets[index].get(value, _NONE)
        if type(rows) is dict and not prefix:
            return map(rows.__getitem__, sorted(rows)) if len(rows) > 1 else iter(rows.values())
        return chain.from_iterable(part.values() for part in parts(rows, prefix))

    def _bucket(self, index: str, value: Hashable) -> Mapping[Hashable, R]:
        return self.rows if index == EVERY else self.buckets[index].get(value, {})
