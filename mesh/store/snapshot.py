"""Snapshots: all tables as a row of small pieces of bytes, and back.

Equal tables give equal pieces, whatever happened to them before: rows and marks are in the order of
their keys. Both ways go by small steps, so that another thread may rest between them.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Hashable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

import msgspec

from mesh.codec import pack, unpack
from mesh.errors import Invalid
from mesh.store.database import Database
from mesh.store.table import Content, Row

FORMAT = 1
STEP_ITEMS = 256  # Rows or marks of one step,
STEP_BYTES = 32 << 10  # or fewer, once they have so many bytes.
PART_ITEMS = 512  # Sorted at once, about, as long as there are no more than
PARTS_MAX = 4096  # of such parts.
_SCATTER = 2_654_435_761  # A prime near 2**32 divided by the golden ratio.

T = TypeVar("T")


class _Start(msgspec.Struct, array_like=True, tag="start"):
    format: int
    index: int
    tables: list[str]


class _Rows(msgspec.Struct, array_like=True, tag="rows"):
    table: str
    rows: msgspec.Raw


class _Filled(msgspec.Struct, array_like=True, tag="filled"):
    table: str
    index: str
    marks: list[tuple[Any, int]]


class _Emptied(msgspec.Struct, array_like=True, tag="emptied"):
    table: str
    index: str
    floor: int
    marks: list[tuple[Any, int]]  # The oldest first.


class _End(msgspec.Struct, array_like=True, tag="end"):
    rows: int


_Piece = _Start | _Rows | _Filled | _Emptied | _End


class _Copy:
    """What one table holds at a moment. It takes some 10 ns a row: nothing but references."""

    def __init__(self, content: Content[Any]) -> None:
        self.name, self.key = content.table.name, content.table.key
        self.rows: list[Row] = list(content.rows.values())
        self.filled = {
            index: (list(marks.filled), list(marks.filled.values()))
            for index, marks in content.marks.items()
        }
        self.emptied = {
            index: (marks.floor, list(marks.emptied.items()))
            for index, marks in content.marks.items()
        }


def freeze(database: Database, level: int) -> Iterator[bytes]:
    """Copy what the tables hold now; the iterator packs the copy, in any thread.

    An empty piece says no more than that some work was done. Tables of a higher level than this,
    which are empty, are left out.
    """
    held = sorted(database.contents.items())
    copies = [_Copy(content) for _, content in held if content.table.level <= level]
    return _pieces(database.index, copies)


def _pieces(index: int, copies: list[_Copy]) -> Iterator[bytes]:
    yield pack(_Start(FORMAT, index, [copy.name for copy in copies]))
    count = 0
    while copies:
        copy = copies.pop(0)
        count += len(copy.rows)
        yield from _row_pieces(copy)
        for kind, (floor, emptied) in copy.emptied.items():
            for first in range(0, len(emptied) or 1, STEP_ITEMS):
                part = emptied[first : first + STEP_ITEMS]
                yield pack(_Emptied(copy.name, kind, floor, part))
        for kind, (values, indexes) in copy.filled.items():
            sample = [values[place] for place in _sample(len(values))]
            marks = zip(_drained(values), _drained(indexes), strict=True)
            yield from _mark_pieces(copy.name, kind, _in_order(marks, sample, _value_of))
    yield pack(_End(count))


def _row_pieces(copy: _Copy) -> Iterator[bytes]:
    sample = [copy.key(copy.rows[place]) for place in _sample(len(copy.rows))]
    packed: list[msgspec.Raw] = []
    size = 0
    for part in _in_order(_drained(copy.rows), sample, copy.key):
        for row in part:
            data = pack(row)
            packed.append(msgspec.Raw(data))
            size += len(data)
            if size >= STEP_BYTES or len(packed) >= STEP_ITEMS:
                yield pack(_Rows(copy.name, msgspec.Raw(pack(packed))))
                packed, size = [], 0
        yield b""
    if packed:
        yield pack(_Rows(copy.name, msgspec.Raw(pack(packed))))


def _mark_pieces(table: str, index: str, parts: Iterator[list[tuple[Any, int]]]) -> Iterator[bytes]:
    waiting: list[tuple[Any, int]] = []
    for part in parts:
        waiting += part
        while len(waiting) >= STEP_ITEMS:
            yield pack(_Filled(table, index, waiting[:STEP_ITEMS]))
            del waiting[:STEP_ITEMS]
        yield b""
    if waiting:
        yield pack(_Filled(table, index, waiting))


def _value_of(mark: tuple[Any, int]) -> Any:
    return mark[0]


def _sample(count: int) -> list[int]:
    """Places whose keys divide so many items into parts: scattered, for keys may come in turns."""
    return [step * _SCATTER % count for step in range(min(count // PART_ITEMS, PARTS_MAX))]


def _drained(items: list[T]) -> Iterator[T]:
    """The items, the last ones first; the list shrinks with them."""
    while items:
        last = items[-STEP_ITEMS:]
        del items[-STEP_ITEMS:]
        yield from reversed(last)


def _in_order(items: Iterator[T], sample: list[Any], key: Callable[[T], Any]) -> Iterator[list[T]]:
    """The items sorted, in parts: one long sort would hold up every other thread.

    `sample` are keys that divide the items about evenly; where depends on what happened to the
    table, so nothing but the order may be seen by others. Empty parts come while work is done.
    """
    borders = sorted(sample)
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


class Thawed:
    """Tables out of a snapshot, which `install` trades for those of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._index = 0
        self._contents = {
            name: Content(content.table) for name, content in database.contents.items()
        }
        self._rows = 0

    @property
    def contents(self) -> Mapping[str, Content[Any]]:
        """What is not in place."""
        return self._contents

    def install(self) -> None:
        """Trade places with the database's tables. Takes no longer for many rows."""
        database = self._database
        database.contents, self._contents = self._contents, database.contents
        database.index, self._index = self._index, database.index

    def discard(self) -> Iterator[None]:
        """Free the tables that are not in place, a little at each step."""
        for content in self._contents.values():
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

    def take(self, piece: _Piece) -> None:
        """Take what the next piece holds."""
        if isinstance(piece, _Start):
            self._take_start(piece)
        elif isinstance(piece, _End):
            if self._rows != piece.rows:
                raise Invalid(f"snapshot has {self._rows} of {piece.rows} rows")
        else:
            content = self._contents[piece.table]
            if isinstance(piece, _Rows):
                kind: Any = list[content.table.kind]  # type: ignore[name-defined]
                rows = unpack(memoryview(piece.rows), kind)
                content.load(rows)
                self._rows += len(rows)
            elif piece.index in content.marks:  # Else an index that this program does not have.
                marks = content.marks[piece.index]
                pairs = {_value(value): index for value, index in piece.marks}
                if isinstance(piece, _Filled):
                    marks.filled.update(pairs)
                else:
                    marks.floor = piece.floor
                    marks.emptied.update(pairs)

    def _take_start(self, start: _Start) -> None:
        if start.format != FORMAT:
            raise Invalid(f"snapshot format {start.format} is newer than this program's {FORMAT}")
        if unknown := sorted(set(start.tables) - set(self._contents)):
            names = ", ".join(unknown)
            raise Invalid(f"snapshot holds tables this program does not know: {names}")
        self._index = start.index


def thaw(database: Database, pieces: Iterator[bytes]) -> Thawed:
    """Read the pieces of `freeze`, and no more of them. Raises Invalid if they are bad.

    Nothing of the database changes before `install`, so this may run in another thread. Tables
    that the snapshot does not know start empty; one that this program does not know is refused,
    for dropping it would lose data.
    """
    thawed = Thawed(database)
    started = False
    for data in pieces:
        piece: _Piece = unpack(data, _Piece)  # type: ignore[arg-type]  # A union is no type[T].
        if isinstance(piece, _Start) == started:
            raise Invalid("snapshot does not begin as it should")
        started = True
        try:
            thawed.take(piece)
        except (KeyError, TypeError) as error:
            raise Invalid(f"snapshot has a piece that does not fit: {error!r}") from error
        if isinstance(piece, _End):
            return thawed
    raise Invalid("snapshot is cut short")


def _value(packed: Any) -> Hashable:
    return tuple(packed) if isinstance(packed, list) else packed
