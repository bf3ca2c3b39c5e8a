"""The chronicle: what the latest log entries changed in the rows whose history is kept.

It holds references to rows that the tables hold, or held, and copies nothing. The oldest changes go
first: when all together are too big, or the oldest too old by the times in the log. Like the tables
it is a function of the log alone, and so part of snapshots.

Who reads it depends on buckets of the tables, which change exactly when a change is added, and on
PRUNED: adding costs a write no more than the change itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from mesh.codec import pack, unpack
from mesh.errors import Invalid
from mesh.store.table import EVERY, Bucket, Content, Row, Table

NAME = "*history"
"""Stands for a table's name in the bucket of the chronicle."""
PRUNED: Bucket = (NAME, EVERY, "")
OVERHEAD_BYTES = 640
"""What a change takes beside its rows, about."""
PRUNE_STEP = 4096
"""Changes forgotten by one log entry at most, so that none pays for all that grew old meanwhile."""
PRUNE_SHARE = 64
"""Once too big, it is pruned by this part of the limit at least: its readers hear of each time."""
SWEEP_SECONDS = 60.0
"""How often changes that are too old are looked for."""
STEP_ITEMS = 256
STEP_BYTES = 32 << 10

Changed = tuple[Table[Any], Hashable, Row | None, Row | None]
"""A table, the primary key of a row, and what the row was and is."""


class Cause(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The log entry that made a change."""

    index: int
    time: float
    """Unix seconds, by the clock of who proposed it."""
    op: str
    """The command's tag, such as `kv.set`."""
    author: str
    origin: str
    request: str
    reverts: int = 0
    """The log index at which things were as they are made again; 0 for an ordinary change."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """One row changed. Without `before` it was made, without `after` it was deleted."""

    number: int
    """Counts the changes, from 1."""
    cause: Cause
    kind: str
    key: str
    before: Row | None
    after: Row | None
    earlier: int
    """The number of the last change of the same row before; 0 for none."""
    size: int


class _Head(msgspec.Struct, array_like=True):
    following: int
    count: int
    floor: int
    pruned: int
    swept: float
    replaced: list[int]


class _Packed(msgspec.Struct, array_like=True):
    number: int
    cause: Cause
    kind: str
    key: str
    before: msgspec.Raw
    """`true` when it is what the earlier change made, as it is but after a restore."""
    after: msgspec.Raw
    earlier: int
    size: int


_NIL, _SAME = msgspec.Raw(b"\xc0"), msgspec.Raw(b"\xc3")


class Chronicle:
    """The changes by number, the oldest first, and the newest of every row.

    `floor` is a log index: of changes up to there some may not be known, or none. `replaced` are
    the log indexes since then at which all tables were replaced, which is no change of each row.
    """

    def __init__(self, tables: Iterable[Table[Any]] = ()) -> None:
        self.tables: dict[str, Table[Any]] = {one.history: one for one in tables if one.history}
        self.changes: dict[int, Change] = {}
        self.newest: dict[str, dict[str, int]] = {kind: {} for kind in self.tables}
        self.following = 1
        self.floor = 0
        self.replaced: list[int] = []
        self.size = 0
        self.pruned_at = 0
        self.swept = 0.0

    def begin(self, index: int) -> None:
        """Nothing that was changed up to this log index is known."""
        self.floor = self.pruned_at = index

    @property
    def oldest(self) -> int:
        """The number of the oldest change known, or of the next one."""
        return self.following - len(self.changes)

    def record(self, cause: Cause, changed: Iterable[Changed], limit: int) -> None:
        """Add what a log entry changed. However much that is, it never goes far over the limit."""
        most, spare = limit + limit // PRUNE_SHARE, PRUNE_STEP
        for table, key, before, after in changed:
            kind, number = table.history, self.following
            text = key if type(key) is str else key_text(key)
            newest = self.newest[kind]
            earlier = newest.get(text, 0)
            size = OVERHEAD_BYTES
            if before is not None:
                size += before.weight()
            if after is not None:
                size += after.weight()
            self.changes[number] = Change(number, cause, kind, text, before, after, earlier, size)
            newest[text] = number
            self.following = number + 1
            self.size += size
            spare += 1
            while self.size > most and spare > 0:
                self._forget_oldest()
                self.pruned_at = cause.index
                spare -= 1

    def prune(self, index: int, time: float, limit: int, seconds: float) -> bool:
        """Forget what is beyond these bytes or this age at this log entry; whether anything was."""
        if self.size <= limit and time - self.swept < SWEEP_SECONDS:
            return self.pruned_at == index
        most = PRUNE_STEP
        if self.size > limit:
            goal = limit - limit // PRUNE_SHARE
            while self.size > goal and most > 0:
                self._forget_oldest()
                most -= 1
        if time - self.swept >= SWEEP_SECONDS:
            before = time - seconds
            while most > 0 and self.changes and self.changes[self.oldest].cause.time < before:
                self._forget_oldest()
                most -= 1
            if most > 0:
                self.swept = time
        if most < PRUNE_STEP:
            self.pruned_at = index
        return self.pruned_at == index

    def _forget_oldest(self) -> None:
        number = self.oldest
        change = self.changes.pop(number)
        newest = self.newest[change.kind]
        if newest[change.key] == number:
            del newest[change.key]
        self.size -= change.size
        self.floor = max(self.floor, change.cause.index)
        while self.replaced and self.replaced[0] <= self.floor:
            del self.replaced[0]

    def whole(self, after: float, until: float) -> bool:
        """Whether the tables were never replaced after one log index and until another."""
        return not any(after < index <= until for index in self.replaced)

    def of(self, kind: str, key: str) -> Iterator[Change]:
        """The changes of one row, the latest first."""
        change = self.changes.get(self.newest.get(kind, {}).get(key, 0))
        while change is not None:
            yield change
            change = self.changes.get(change.earlier)

    def latest(self, before: int = 0) -> Iterator[Change]:
        """All changes, the latest first; with `before` only those of lower numbers."""
        top = min(before, self.following) if before else self.following
        for number in range(top - 1, self.oldest - 1, -1):
            yield self.changes[number]

    def freeze(self) -> Iterator[bytes]:
        """Copy what is known now; the iterator packs the copy, in any thread."""
        changes = list(self.changes.values())
        head = _Head(
            self.following,
            len(changes),
            self.floor,
            self.pruned_at,
            self.swept,
            list(self.replaced),
        )
        return _pieces(head, changes)

    def take(self, packed: _Packed, cause: Cause, contents: Mapping[str, Content[Any]]) -> None:
        """Add a change out of a snapshot whose tables these are. Raises Invalid if it is bad."""
        table = self.tables.get(packed.kind)
        if table is None or packed.number != self.following:
            raise Invalid(f"snapshot has a change of history that does not fit: {packed.kind}")
        after = _row(table, packed.after)
        if after is not None:
            held = contents[table.name].rows.get(table.key(after))
            if held == after:
                after = held
        earlier = self.changes.get(packed.earlier)
        if packed.before != _SAME:
            before = _row(table, packed.before)
        elif earlier is not None:
            before = earlier.after
        else:
            raise Invalid(f"snapshot lacks a change of history: {packed.earlier}")
        number, kind, key = packed.number, packed.kind, packed.key
        self.changes[number] = Change(
            number, cause, kind, key, before, after, packed.earlier, packed.size
        )
        self.newest[kind][key] = number
        self.following, self.size = number + 1, self.size + packed.size

    def discard(self) -> Iterator[None]:
        """Free what it holds, a little at each step."""
        every: list[dict[Any, Any]] = [self.changes, *self.newest.values()]
        for held in every:
            while held:
                for _ in range(min(STEP_ITEMS, len(held))):
                    held.popitem()
                yield


def key_text(key: Hashable) -> str:
    """A primary key as people write it: its parts with slashes between."""
    if not isinstance(key, tuple):
        return str(key)
    *parts, last = map(str, key)
    return "/".join([*(part.replace("/", "%2F") for part in parts), last])


def _pieces(head: _Head, changes: list[Change]) -> Iterator[bytes]:
    yield pack(head)
    changes.reverse()
    made: dict[int, Row] = {}  # What changes made, for those still to come.
    packed: list[_Packed] = []
    size = 0
    while changes:
        change = changes.pop()
        before, after, earlier = change.before, change.after, change.earlier
        same = before is not None and made.pop(earlier, None) == before
        if after is not None:
            made[change.number] = after
        one = _Packed(
            change.number,
            change.cause,
            change.kind,
            change.key,
            _SAME if same else msgspec.Raw(pack(before)),
            msgspec.Raw(pack(after)),
            earlier,
            change.size,
        )
        packed.append(one)
        size += len(memoryview(one.before)) + len(memoryview(one.after))
        if size >= STEP_BYTES or len(packed) >= STEP_ITEMS:
            yield pack(packed)
            packed, size = [], 0
    if packed:
        yield pack(packed)


def thaw(
    tables: Iterable[Table[Any]], pieces: Iterator[bytes], contents: Mapping[str, Content[Any]]
) -> Chronicle:
    """Read the pieces of `freeze`, all that are left. Raises Invalid if they are bad.

    Rows that the tables of the same snapshot hold are not held twice. May run in any thread.
    """
    chronicle = Chronicle(tables)
    head = unpack(next(pieces, b""), _Head)
    chronicle.following = head.following - head.count
    chronicle.floor, chronicle.pruned_at = head.floor, head.pruned
    chronicle.swept, chronicle.replaced = head.swept, head.replaced
    cause: Cause | None = None
    for piece in pieces:
        for packed in unpack(piece, list[_Packed]):
            if cause is None or packed.cause != cause:
                cause = packed.cause
            chronicle.take(packed, cause, contents)
    if chronicle.following != head.following:
        known = len(chronicle.changes)
        raise Invalid(f"snapshot has {known} of {head.count} changes of history")
    return chronicle


def _row(table: Table[Any], packed: msgspec.Raw) -> Any:
    return unpack(memoryview(packed), table.kind) if packed != _NIL else None
