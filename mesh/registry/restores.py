"""Restores: a snapshot that goes through the log in chunks and takes the place of all tables.

Chunks are rows, so that a snapshot of the log has those that came so far, and every server reads
each one into other tables as it comes. What ends a restore only puts these in place: that takes no
longer for many rows. Until then nothing has changed, and what is written meanwhile is lost then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from msgspec.structs import replace

from mesh.errors import Conflict, Invalid, NotFound
from mesh.registry.levels import LEVELS, RESTORES, Present
from mesh.registry.port import Command, Query
from mesh.store.database import Database, Transaction, View
from mesh.store.staging import Staging
from mesh.store.table import EVERY, Content, Row, Table

CHUNK_BYTES_MAX = 128 * 1024
"""So that reading one takes some milliseconds."""
STATE_BYTES_MAX = 8 << 30
IDLE_SECONDS = 60.0
"""A restore that has not gone on for so long was abandoned."""
CLEANED_ROWS = 256
"""Chunks that one log entry frees."""


class Restore(Row, frozen=True, kw_only=True):
    """A restore under way, or the last one."""

    key: str
    id: str
    name: str = ""
    """The snapshot's own id."""
    size: int = 0
    """Bytes of the state, all chunks together."""
    received: int = 0
    chunks: int = 0
    begun: float = 0.0
    heard: float = 0.0
    """When it went on, in Unix seconds by the times in the log."""
    abandoned: bool = False


class Chunk(Row, frozen=True, kw_only=True):
    """Bytes of a state on their way in."""

    key: str
    data: bytes


UNDER_WAY, LAST = "under way", "last"
TABLE: Table[Restore] = Table("restores", Restore, lambda row: row.key, {}, level=RESTORES)
CHUNKS: Table[Chunk] = Table("restore_chunks", Chunk, lambda row: row.key, {}, level=RESTORES)
OWN = frozenset({LEVELS.name, TABLE.name, CHUNKS.name})
"""Tables that are the cluster's and in no snapshot: a restore leaves them as they are."""


class State(Query[list[Restore]], frozen=True, tag="restores.state"):
    """The restore that is under way, if any, and the last one that was done."""

    answer = list[Restore]
    needs: ClassVar[int] = RESTORES

    def run(self, view: View) -> list[Restore]:
        """Read the rows."""
        return view.every(TABLE)


class Begin(Command[int], frozen=True, tag="restores.begin"):
    """Begin a restore; the log index below which its rows' indexes stay."""

    result = int
    needs: ClassVar[int] = RESTORES
    id: str
    name: str
    size: int
    level: int
    """The feature level at which the snapshot was taken."""

    def validate(self) -> None:
        """There are limits."""
        if not self.id:
            raise Invalid("id: a restore needs one")
        if not 0 < self.size <= STATE_BYTES_MAX:
            raise Invalid(f"the snapshot's state has {self.size} bytes; {STATE_BYTES_MAX} may be")

    def apply(self, transaction: Transaction) -> int:
        """Note it. Raises Conflict while another one goes on."""
        level = Present().run(transaction)
        if self.level > level:
            raise Conflict(
                f"the snapshot is of feature level {self.level}, and the cluster has {level}: "
                "upgrade every server, run meshctl operator upgrade finalize, then restore"
            )
        other = transaction.get(TABLE, UNDER_WAY)
        if other is not None and not _abandoned(other, transaction.time):
            raise Conflict("another restore is under way; wait for it to end")
        if other is not None or transaction.select_some(CHUNKS, 1):
            raise Conflict("a restore that was abandoned is being cleaned up; try again shortly")
        transaction.put(
            TABLE,
            Restore(
                key=UNDER_WAY,
                id=self.id,
                name=self.name,
                size=self.size,
                begun=transaction.time,
                heard=transaction.time,
            ),
        )
        transaction.stage(transaction.log_index)
        return transaction.log_index


class Add(Command[int], frozen=True, tag="restores.add"):
    """The next bytes of the state; how many there are then."""

    result = int
    needs: ClassVar[int] = RESTORES
    id: str
    number: int
    """Counts the chunks from 0."""
    data: bytes

    def validate(self) -> None:
        """A chunk has a limit."""
        if not 0 < len(self.data) <= CHUNK_BYTES_MAX:
            raise Invalid(f"data: expected 1 to {CHUNK_BYTES_MAX} bytes")

    def apply(self, transaction: Transaction) -> int:
        """Keep it. Raises NotFound when the restore was given up meanwhile."""
        now = _under_way(transaction, self.id)
        if self.number != now.chunks:
            raise Conflict(f"number: expected chunk {now.chunks} of the restore, got {self.number}")
        received = now.received + len(self.data)
        if received > now.size:
            raise Invalid(f"data: the state has more than the {now.size} bytes announced")
        transaction.put(CHUNKS, Chunk(key=f"{self.number:08d}", data=self.data))
        transaction.put(
            TABLE,
            replace(now, received=received, chunks=now.chunks + 1, heard=transaction.time),
        )
        transaction.stage(self.data)
        return received


class Finish(Command[int], frozen=True, tag="restores.finish"):
    """Put the restored tables in place of the present ones; the log index of that."""

    result = int
    needs: ClassVar[int] = RESTORES
    id: str
    sum: str
    """SHA-256 of the state, in hexadecimal."""

    def apply(self, transaction: Transaction) -> int:
        """Do it. Raises Invalid, changing nothing, when the state is not whole and right."""
        now = _under_way(transaction, self.id)
        if now.received != now.size:
            raise Invalid(f"the state has {now.received} of {now.size} bytes")
        level = transaction.get(LEVELS, "")
        transaction.replace_all(self.sum)
        if level is not None:
            transaction.put(LEVELS, level)
        transaction.put(TABLE, replace(now, key=LAST, heard=transaction.time))
        return transaction.log_index


class Abandon(Command[int], frozen=True, tag="restores.abandon"):
    """Give a restore up and free a part of what it held; how much is left.

    Without an id: one that has not gone on for a minute.
    """

    result = int
    needs: ClassVar[int] = RESTORES
    id: str = ""

    def apply(self, transaction: Transaction) -> int:
        """Free some of it; nothing is changed when there is none."""
        now = transaction.get(TABLE, UNDER_WAY)
        if now is None:
            return 0
        if now.id != self.id and not (not self.id and _abandoned(now, transaction.time)):
            return 0
        if not now.abandoned:
            transaction.stage(None)
            now = transaction.put(TABLE, replace(now, abandoned=True))
        found = transaction.select_some(CHUNKS, CLEANED_ROWS)
        for chunk in found:
            transaction.delete(CHUNKS, chunk.key)
        left = max(0, now.chunks - len(found))
        if left:
            transaction.put(TABLE, replace(now, chunks=left))
        else:
            transaction.delete(TABLE, UNDER_WAY)
        return left


def exported(database: Database) -> Iterable[Content[Any]]:
    """The tables that snapshots have, in the order in which they may be read."""
    return [content for name, content in database.contents.items() if name not in OWN]


def staged(contents: Mapping[str, Content[Any]]) -> Staging | None:
    """What a restore that is under way in these tables has read so far."""
    row: Restore | None = contents[TABLE.name].rows.get(UNDER_WAY)
    if row is None or row.abandoned:
        return None
    made = Staging([content.table for content in contents.values()], row.create_index)
    for chunk in contents[CHUNKS.name].select(EVERY, ""):
        made.feed(chunk.data)
    return made


def _under_way(transaction: Transaction, number: str) -> Restore:
    now = transaction.get(TABLE, UNDER_WAY)
    if now is None or now.id != number or now.abandoned:
        raise NotFound("the restore was given up, and nothing has changed; start it again")
    return now


def _abandoned(row: Restore, time: float) -> bool:
    return row.abandoned or row.heard < time - IDLE_SECONDS
