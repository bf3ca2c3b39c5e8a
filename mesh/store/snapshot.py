"""Snapshots: all tables as bytes, and back."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import msgspec

from mesh.codec import pack, unpack
from mesh.errors import Invalid
from mesh.store.database import Database
from mesh.store.table import Content, Marks

FORMAT = 1


class _Marks(msgspec.Struct, array_like=True):
    filled: list[tuple[Any, int]]
    emptied: list[tuple[Any, int]]
    floor: int


class _Table(msgspec.Struct):
    rows: list[msgspec.Raw]
    marks: dict[str, _Marks]


class _Snapshot(msgspec.Struct):
    format: int
    index: int
    tables: dict[str, _Table]


def freeze(database: Database, level: int) -> Callable[[], bytes]:
    """Copy what the tables hold now; the function returned packs it, in any thread.

    Tables of a higher level than this, which are empty, are left out.
    """
    index = database.index
    copies = [
        (
            name,
            list(content.rows.items()),
            {
                kind: (list(marks.filled.items()), list(marks.emptied.items()), marks.floor)
                for kind, marks in content.marks.items()
            },
        )
        for name, content in database.contents.items()
        if content.table.level <= level
    ]

    def packed() -> bytes:
        tables = {
            name: {
                "rows": [row for _, row in sorted(rows)],
                "marks": {
                    kind: (sorted(filled), emptied, floor)
                    for kind, (filled, emptied, floor) in marks.items()
                },
            }
            for name, rows, marks in copies
        }
        return pack({"format": FORMAT, "index": index, "tables": tables})

    return packed


def _value(packed: Any) -> Hashable:
    return tuple(packed) if isinstance(packed, list) else packed


def _marks(packed: _Marks) -> Marks:
    marks = Marks()
    marks.filled = {_value(value): index for value, index in packed.filled}
    marks.emptied = {_value(value): index for value, index in packed.emptied}
    marks.floor = packed.floor
    return marks


def thaw(database: Database, data: bytes) -> None:
    """Replace all tables by what the bytes hold. Raises Invalid, changing nothing, if they are bad.

    Tables that the snapshot does not know start empty; a table that this program does not know is
    refused, for dropping it would lose data.
    """
    snapshot = unpack(data, _Snapshot)
    if snapshot.format != FORMAT:
        raise Invalid(f"snapshot format {snapshot.format} is newer than this program's {FORMAT}")
    if unknown := sorted(set(snapshot.tables) - set(database.contents)):
        raise Invalid(f"snapshot holds tables this program does not know: {', '.join(unknown)}")
    contents: dict[str, Content[Any]] = {}
    for name, old in database.contents.items():
        content: Content[Any] = Content(old.table)
        packed = snapshot.tables.get(name)
        if packed is not None:
            for raw in packed.rows:
                row = unpack(bytes(raw), old.table.kind)
                content.replace(old.table.key(row), row)
            for kind, marks in packed.marks.items():
                content.marks[kind] = _marks(marks)
        contents[name] = content
    database.contents = contents
    database.index = snapshot.index
