"""Snapshots: all tables as a row of small pieces of bytes, and back.

Equal tables give equal pieces, whatever happened to them before: rows and marks are in the order of
their keys. Both ways go by small steps, so that another thread may rest between them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import msgspec

from mesh.codec import pack, unpack
from mesh.errors import Invalid
from mesh.store.database import Database
from mesh.store.order import pinned
from mesh.store.staging import Staging
from mesh.store.steps import STEP_BYTES, STEP_ITEMS, drained, freed
from mesh.store.table import Content, Row

FORMAT = 1


class _Start(msgspec.Struct, array_like=True, tag="start"):
    format: int
    index: int
    tables: list[str]
    floor: int = 0
    """Left out where it is 0, as programs below level 4 have it."""


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
    """What one table holds at a moment. It takes no longer for many rows."""

    def __init__(self, content: Content[Any], level: int) -> None:
        self.name = content.table.name
        self.rows: list[Mapping[Any, Row]] = pinned(content.rows)
        later = content.table.later
        known = {name: one for name, one in content.marks.items() if later.get(name, 1) <= level}
        self.filled = {index: pinned(marks.filled) for index, marks in known.items()}
        self.emptied = {
            index: (marks.floor, list(marks.emptied.items())) for index, marks in known.items()
        }


def freeze(database: Database, level: int) -> Iterator[bytes]:
    """Copy what the tables hold now; the iterator packs the copy, in any thread.

    An empty piece says no more than that some work was done. Tables of a higher level than this,
    which are empty, are left out.
    """
    held = sorted(database.contents.items())
    copies = [_Copy(content, level) for _, content in held if content.table.level <= level]
    names = [copy.name for copy in copies]
    start = _Start(FORMAT, database.index, names, database.floor)
    return _pieces(pack(start if start.floor else ("start", FORMAT, start.index, names)), copies)


def _pieces(start: bytes, copies: list[_Copy]) -> Iterator[bytes]:
    yield start
    count = 0
    while copies:
        copy = copies.pop(0)
        count += sum(map(len, copy.rows))
        yield from _row_pieces(copy)
        for kind, (floor, emptied) in copy.emptied.items():
            for first in range(0, len(emptied) or 1, STEP_ITEMS):
                part = emptied[first : first + STEP_ITEMS]
                yield pack(_Emptied(copy.name, kind, floor, part))
        for kind, parts in copy.filled.items():
            yield from _mark_pieces(copy.name, kind, drained(parts))
    yield pack(_End(count))


def _row_pieces(copy: _Copy) -> Iterator[bytes]:
    packed: list[msgspec.Raw] = []
    size = 0
    for part in drained(copy.rows):
        for row in part.values():
            data = pack(row)
            packed.append(msgspec.Raw(data))
            size += len(data)
            if size >= STEP_BYTES or len(packed) >= STEP_ITEMS:
                yield pack(_Rows(copy.name, msgspec.Raw(pack(packed))))
                packed, size = [], 0
        yield b""
    if packed:
        yield pack(_Rows(copy.name, msgspec.Raw(pack(packed))))


def _mark_pieces(table: str, index: str, parts: Iterator[Mapping[Any, int]]) -> Iterator[bytes]:
    waiting: list[tuple[Any, int]] = []
    for part in parts:
        waiting += part.items()
        while len(waiting) >= STEP_ITEMS:
            yield pack(_Filled(table, index, waiting[:STEP_ITEMS]))
            del waiting[:STEP_ITEMS]
        yield b""
    if waiting:
        yield pack(_Filled(table, index, waiting))


class Thawed:
    """Tables out of a snapshot, which `install` trades for those of the database.

    `staging` goes with them: what may replace them next.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._index = self._floor = 0
        self.staging: Staging | None = None
        self.contents = {
            name: Content(content.table) for name, content in database.contents.items()
        }
        self._rows = 0

    def install(self) -> None:
        """Trade places with the database's tables. Takes no longer for many rows."""
        database = self._database
        database.contents, self.contents = self.contents, database.contents
        database.index, self._index = self._index, database.index
        database.floor, self._floor = self._floor, database.floor
        database.staging, self.staging = self.staging, database.staging

    def discard(self) -> Iterator[None]:
        """Free the tables that are not in place, a little at each step."""
        yield from freed(self.contents)
        if self.staging is not None:
            yield from freed(self.staging.contents)

    def take(self, piece: _Piece) -> None:
        """Take what the next piece holds."""
        if isinstance(piece, _Start):
            self._take_start(piece)
        elif isinstance(piece, _End):
            if self._rows != piece.rows:
                raise Invalid(f"snapshot has {self._rows} of {piece.rows} rows")
        else:
            content = self.contents[piece.table]
            if isinstance(piece, _Rows):
                kind: Any = list[content.table.kind]  # type: ignore[name-defined]
                rows = unpack(memoryview(piece.rows), kind)
                content.load(rows)
                self._rows += len(rows)
            elif piece.index in content.marks:  # Else an index that this program does not have.
                marks = content.marks[piece.index]
                pairs = {_value(value): index for value, index in piece.marks}
                if isinstance(piece, _Filled):
                    marks.load(pairs)
                else:
                    marks.floor = piece.floor
                    marks.emptied.update(pairs)

    def _take_start(self, start: _Start) -> None:
        if start.format != FORMAT:
            raise Invalid(f"snapshot format {start.format} is newer than this program's {FORMAT}")
        if unknown := sorted(set(start.tables) - set(self.contents)):
            names = ", ".join(unknown)
            raise Invalid(f"snapshot holds tables this program does not know: {names}")
        self._index, self._floor = start.index, start.floor


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
