"""Exports: the rows of all tables as a stream of bytes for other clusters and later days, and back.

Unlike a snapshot of the log (`store.snapshot`) an export holds rows and nothing else: when buckets
changed and which requests were done belongs to the log that it is read into. The stream says how it
begins, has pieces that each have their length in front, and ends with a digest of the rows without
their indexes, so that equal rows have equal digests wherever they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Any

import msgspec

from mesh.codec import pack, unpack
from mesh.errors import Invalid
from mesh.store.order import pinned
from mesh.store.steps import STEP_BYTES, STEP_ITEMS, drained
from mesh.store.table import Content, Table

FORMAT = 1
MAGIC = b"mesh state\n"
LENGTH_BYTES = 4
PIECE_BYTES_MAX = 16 << 20
DIGEST_BYTES = 16


class Start(msgspec.Struct, array_like=True, tag="start"):
    """What comes first: the log index and the level of the state, and the tables' names."""

    format: int
    index: int
    level: int
    tables: list[str]


class Rows(msgspec.Struct, array_like=True, tag="rows"):
    """Rows of a table with their indexes taken out: create index, modify index, and so on."""

    table: str
    indexes: list[int]
    rows: msgspec.Raw


class End(msgspec.Struct, array_like=True, tag="end"):
    """What comes last: how many rows there were, and their digest."""

    rows: int
    digest: bytes


Piece = Start | Rows | End


class Tally(msgspec.Struct):
    """What an export held of one table."""

    rows: int = 0
    bytes: int = 0


class Export:
    """The rows of tables as they are now. Iterated once, in any thread, it packs them.

    Empty bytes say no more than that some work was done. After the end `digest` is that of the
    rows, and `tally` says what came of each table. Tables above the level, which are empty, are
    left out.
    """

    def __init__(self, contents: Iterable[Content[Any]], index: int, level: int) -> None:
        held = [one for one in contents if one.table.level <= level]
        self._copies = [(one.table, pinned(one.rows)) for one in held]
        self.index, self.level = index, level
        self.tally = {one.table.name: Tally() for one in held}
        self.digest = b""

    def __iter__(self) -> Iterator[bytes]:
        yield MAGIC
        yield framed(pack(Start(FORMAT, self.index, self.level, list(self.tally))))
        digest = Digest()
        while self._copies:
            table, parts = self._copies.pop(0)
            tally = self.tally[table.name]
            tally.rows = sum(map(len, parts))
            for piece in _pieces(table, parts):
                if piece is None:
                    yield b""
                    continue
                digest.update(piece)
                tally.bytes += len(memoryview(piece.rows))
                yield framed(pack(piece))
        self.digest = digest.value()
        yield framed(pack(End(sum(one.rows for one in self.tally.values()), self.digest)))


class Digest:
    """Of rows table by table in the order of their keys, however they came in pieces."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=DIGEST_BYTES)
        self._table = ""

    def update(self, piece: Rows) -> None:
        """Take the next rows."""
        if piece.table != self._table:
            self._table = piece.table
            self._hash.update(b"\xc1" + piece.table.encode())  # A byte that msgpack never uses.
        rows = memoryview(piece.rows)
        # An array's head says how many there are, which is about the piece.
        self._hash.update(rows[{0xDC: 3, 0xDD: 5}.get(rows[0], 1) :])

    def value(self) -> bytes:
        """The digest of all so far."""
        return self._hash.digest()


def _pieces(table: Table[Any], parts: list[Mapping[Any, Any]]) -> Iterator[Rows | None]:
    for part in drained(parts):
        steps = iter(part.values())
        while step := list(islice(steps, STEP_ITEMS)):
            yield from _step(table.name, step)
        yield None


def _step(name: str, rows: list[Any]) -> Iterator[Rows]:
    """Pieces of rows that are in order."""
    indexes: list[int] = []
    packed: list[bytes] = []
    size = 0
    for row in rows:
        data = pack(msgspec.structs.replace(row, create_index=0, modify_index=0))
        indexes += (row.create_index, row.modify_index)
        packed.append(data)
        size += len(data)
        if size >= STEP_BYTES:
            yield Rows(name, indexes, _array(packed))
            indexes, packed, size = [], [], 0
    if packed:
        yield Rows(name, indexes, _array(packed))


def _array(packed: list[bytes]) -> msgspec.Raw:
    return msgspec.Raw(pack([msgspec.Raw(data) for data in packed]))


def framed(piece: bytes) -> bytes:
    """A piece with its length in front."""
    return len(piece).to_bytes(LENGTH_BYTES, "big") + piece


class Pieces:
    """Cuts the stream, fed in any portions, into its pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._begun = self.ended = False

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces that are whole now. Raises Invalid when the stream makes no sense."""
        self._buffer += data
        if not self._begun:
            if not MAGIC.startswith(self._buffer[: len(MAGIC)]):
                raise Invalid("this is no state of mesh")
            if len(self._buffer) < len(MAGIC):
                return
            del self._buffer[: len(MAGIC)]
            self._begun = True
        while len(self._buffer) >= LENGTH_BYTES:
            length = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
            if length > PIECE_BYTES_MAX:
                raise Invalid("the state has a piece over the limit")
            end = LENGTH_BYTES + length
            if len(self._buffer) < end:
                return
            if self.ended:
                break
            piece: Piece = unpack(bytes(self._buffer[LENGTH_BYTES:end]), Piece)  # type: ignore[arg-type]  # A union is no type[T].
            del self._buffer[:end]
            self.ended = isinstance(piece, End)
            yield piece
        if self.ended and self._buffer:
            raise Invalid("the state goes on after its end")


class Reading:
    """Reads an export piece by piece and sees to it that it is whole.

    `tally` counts what came of each table. Rows are given to `keep`, with their indexes limited to
    `ceiling`: in the log that they are read into, higher ones are still to come.
    """

    def __init__(
        self,
        tables: Iterable[Table[Any]],
        keep: Callable[[Table[Any], list[Any]], None],
        ceiling: int | None = None,
    ) -> None:
        self._tables = {table.name: table for table in tables}
        self._keep, self._ceiling = keep, ceiling
        self._pieces = Pieces()
        self._digest, self._rows = Digest(), 0
        self.start: Start | None = None
        self.digest = b""
        """Of the rows; empty until the end has come."""
        self.tally: dict[str, Tally] = {}

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. Raises Invalid when they make no sense."""
        for piece in self._pieces.feed(data):
            if isinstance(piece, Start) == (self.start is not None):
                raise Invalid("the state does not begin as it should")
            if isinstance(piece, Start):
                self._begin(piece)
            elif isinstance(piece, Rows):
                self._take(piece)
            else:
                self._end(piece)

    def finish(self) -> bytes:
        """The digest of all rows. Raises Invalid when the end is still to come."""
        if not self._pieces.ended:
            raise Invalid("the state is cut short")
        return self.digest

    def _begin(self, start: Start) -> None:
        if start.format != FORMAT:
            raise Invalid(f"the state is of format {start.format}; this program reads {FORMAT}")
        if unknown := sorted(set(start.tables) - set(self._tables)):
            names = ", ".join(unknown)
            raise Invalid(f"the state holds tables this program does not know: {names}")
        self.start = start
        self.tally = {name: Tally() for name in start.tables}

    def _take(self, piece: Rows) -> None:
        tally = self.tally.get(piece.table)
        if tally is None:
            raise Invalid(f'the state has rows of "{piece.table}", which it did not announce')
        table = self._tables[piece.table]
        rows: list[Any] = unpack(memoryview(piece.rows), list[table.kind])  # type: ignore[name-defined]
        if len(piece.indexes) != 2 * len(rows):
            raise Invalid("the state has rows without indexes")
        self._digest.update(piece)
        ceiling = self._ceiling
        numbers = piece.indexes if ceiling is None else [min(n, ceiling) for n in piece.indexes]
        replace = msgspec.structs.replace
        pairs = zip(rows, numbers[::2], numbers[1::2], strict=True)
        self._keep(table, [replace(row, create_index=c, modify_index=m) for row, c, m in pairs])
        self._rows += len(rows)
        tally.rows += len(rows)
        tally.bytes += len(memoryview(piece.rows))

    def _end(self, end: End) -> None:
        if self._rows != end.rows:
            raise Invalid(f"the state has {self._rows} of {end.rows} rows")
        if self._digest.value() != end.digest:
            raise Invalid("the digest of the state does not match")
        self.digest = end.digest
