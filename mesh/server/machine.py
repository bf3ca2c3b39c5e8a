"""The machine: log entries become commits, the same on every server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from sys import intern
from typing import Any

import msgspec

from mesh.codec import pack, unpack
from mesh.errors import Conflict, Internal, Invalid, MeshError, Outdated, from_code
from mesh.registry.envelope import Envelope, digest, open_sealed
from mesh.registry.history import limits_of
from mesh.registry.levels import EXACT, HIGHEST, HISTORY, Finalize, Found, level_of, readable
from mesh.registry.requests import TABLES
from mesh.registry.restores import exported, staged
from mesh.store import chronicle
from mesh.store.chronicle import Cause, Chronicle
from mesh.store.database import Database, Transaction
from mesh.store.export import Export
from mesh.store.ledger import HORIZON, Ended, Ledger
from mesh.store.live import Answers
from mesh.store.snapshot import Thawed, freeze, thaw
from mesh.store.steps import STEP_ITEMS
from mesh.store.table import Bucket


class _Head(msgspec.Struct, array_like=True):
    format: int
    """The level at which it was written."""
    requests: int
    horizon: int = 0
    """From level 2 on."""


class Machine:
    """The replicated state: the tables, and how the latest requests ended.

    Implements the Raft node's StateMachine. Everything it does is a function of the log, so that
    all servers hold the same bytes at the same index. `highest` is the level up to which it reads;
    `on_level` hears of every change of the level, `on_commit` of the buckets that each log entry
    changed; it gets None when the tables were replaced as a whole.
    """

    def __init__(self, highest: int = HIGHEST) -> None:
        self.highest = highest
        self.database = Database(TABLES)
        self.answers = Answers(self.database)
        self.on_level: Callable[[int], None] = _ignore
        self.on_restored: Callable[[], None] = _nothing
        """Hears that all tables were replaced by those of a snapshot that somebody restored."""
        self.on_dropped: Callable[[Iterator[None]], None] = _ignore
        """Is given steps that free tables which nobody needs any more, for another thread."""
        self.on_commit: Callable[[set[Bucket] | None], None] = _ignore

    def apply(self, index: int, data: bytes) -> object:
        """Apply a log entry: the command's result, or the MeshError that refused it.

        Raises Invalid only for bytes this program cannot read: going on would let this server's
        tables differ from the others', so the node has to stop.
        """
        envelope = open_sealed(data, self.highest)
        ledger, level = self.database.ledger, level_of(self.database)
        known = ledger.ended.get(envelope.request)
        if known is not None:
            if known.digest and known.digest != digest(data):
                return Conflict(
                    "this Idempotency-Key was used for another request; choose a new one"
                )
            return _outcome(envelope, known)
        # An index of the future is of another log, one that this cluster had before it was rebuilt.
        if level >= EXACT and not ledger.horizon <= envelope.since < index:
            return Outdated(
                f"the request may have been forgotten: it was first made at log index "
                f"{envelope.since}, and what is remembered goes from {ledger.horizon} to {index}",
                index,
            )
        return self._commit(index, envelope, data, level)

    def _commit(self, index: int, envelope: Envelope, data: bytes, before: int) -> object:
        command: Any = envelope.command
        if isinstance(command, Found | Finalize):
            readable("log entry", command.level, self.highest)
        transaction = self.database.begin(index, envelope.time)
        try:
            result: object = command.apply(transaction)
            kept: object = command.remembered(result)
        except MeshError as error:
            transaction.rollback()
            result = kept = error
        except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
            # A fault in a command: the same on every server, so refusing it keeps them equal.
            transaction.rollback()
            result = kept = Internal(f"{type(command).__name__} failed: {error!r}")
        changed = transaction.commit()
        level = level_of(self.database)
        if level != before:
            self.database.rise(before, level, index)
        if level >= HISTORY:
            self._record(transaction, envelope, before, changed)
        if before < EXACT <= level:
            # What was forgotten until now left no trace, and some servers know less than others.
            self.database.ledger.horizon = index
            changed.add(HORIZON)
        self._remember(index if level >= EXACT else 0, envelope, data, kept, changed)
        if transaction.replaced:
            self.answers.restored(other=True)
            self.on_restored()
        else:
            self.answers.committed(changed)
        self.on_commit(None if transaction.replaced else changed)
        for steps in transaction.dropped:
            self.on_dropped(steps)
        if level != before:
            self.on_level(level)
        return result

    def _record(
        self, transaction: Transaction, envelope: Envelope, before: int, changed: set[Bucket]
    ) -> None:
        """Have the chronicle know what changed, and forget what is too old or too much."""
        known, index, time = self.database.chronicle, transaction.log_index, envelope.time
        limits = limits_of(self.database)
        if before < HISTORY:
            known.begin(index)
        if transaction.replaced:
            known.replaced.append(index)
        rows = transaction.changed_rows()
        if rows:
            one, op = envelope, str(envelope.command.__struct_config__.tag)
            # Few texts say where very many changes came from.
            author, origin = one.author and intern(one.author), intern(one.origin)
            cause = Cause(index, time, op, author, origin, one.request, transaction.reverts)
            known.record(cause, rows, limits.bytes_max)
        if known.prune(index, time, limits.bytes_max, limits.seconds_max):
            changed.add(chronicle.PRUNED)

    def _remember(
        self, index: int, envelope: Envelope, data: bytes, result: object, changed: set[Bucket]
    ) -> None:
        asked = digest(data) if index else b""
        if isinstance(result, MeshError):
            ended = Ended(b"", result.code, result.message, envelope.time, index, asked)
        else:
            ended = Ended(pack(result), "", "", envelope.time, index, asked)
        self.database.ledger.remember(envelope.request, ended, changed)

    def snapshot(self) -> Iterator[bytes]:
        """Copy the state now; the iterator packs the copy, in any thread.

        An empty piece says no more than that some work was done.
        """
        level, ledger = level_of(self.database), self.database.ledger
        tables = freeze(self.database, level)
        head = _Head(level, len(ledger.ended), ledger.horizon)
        past = self.database.chronicle.freeze() if level >= HISTORY else iter(())
        return _pieces(head, tables, list(ledger.ended), list(ledger.ended.values()), past)

    def export(self) -> Export:
        """Copy the rows of all that snapshots have, now."""
        database = self.database
        return Export(exported(database), database.index, level_of(database))

    def prepare(self, index: int, pieces: Iterator[bytes]) -> Restored:  # noqa: ARG002
        """Read what `snapshot` packed, in any thread. Raises Invalid if it is bad."""
        head = unpack(next(pieces, b""), _Head)
        readable("snapshot", head.format, self.highest)
        tables = thaw(self.database, pieces)
        ledger = Ledger()
        while len(ledger.ended) < head.requests and (piece := next(pieces, b"")):
            ledger.ended.update(unpack(piece, list[tuple[str, Ended]]))
        if len(ledger.ended) != head.requests:
            raise Invalid(f"snapshot has {len(ledger.ended)} of {head.requests} requests")
        ledger.horizon = head.horizon
        if head.format >= HISTORY:
            past = chronicle.thaw(TABLES, pieces, tables.contents)
        elif next(pieces, None) is None:
            past = Chronicle(TABLES)
        else:
            raise Invalid("snapshot goes on after its end")
        tables.staging = staged(tables.contents)
        return Restored(self, tables, ledger, past)

    def trade(self, tables: Thawed, ledger: Ledger, past: Chronicle) -> tuple[Ledger, Chronicle]:
        """Trade the tables, the requests that led to them and what those changed, for others."""
        before, database = level_of(self.database), self.database
        tables.install()
        former = database.ledger, database.chronicle
        database.ledger, database.chronicle = ledger, past
        self.answers.restored()
        self.on_commit(None)
        if (level := level_of(self.database)) != before:
            self.on_level(level)
        return former


class Restored:
    """A state of the machine out of a snapshot, which `install` trades for the present one."""

    def __init__(self, machine: Machine, tables: Thawed, ledger: Ledger, past: Chronicle) -> None:
        self._machine, self._tables, self._ledger, self._past = machine, tables, ledger, past

    def install(self) -> None:
        """Trade places with the machine's state. Takes no longer for many rows."""
        self._ledger, self._past = self._machine.trade(self._tables, self._ledger, self._past)

    def discard(self) -> Iterator[None]:
        """Free the state that is not in place, a little at each step; in any thread."""
        yield from self._tables.discard()
        yield from self._past.discard()
        ended = self._ledger.ended
        while ended:
            for _ in range(min(STEP_ITEMS, len(ended))):
                ended.popitem()
            yield


def _pieces(
    head: _Head,
    tables: Iterator[bytes],
    requests: list[str],
    ends: list[Ended],
    past: Iterator[bytes],
) -> Iterator[bytes]:
    exact = head.format >= EXACT
    yield pack(head if exact else (head.format, head.requests))
    yield from tables
    for first in range(0, len(requests), STEP_ITEMS):
        part = slice(first, first + STEP_ITEMS)
        pairs = list(zip(requests[part], ends[part], strict=True))
        yield pack(pairs if exact else [(request, _short(ended)) for request, ended in pairs])
    yield from past


def _short(ended: Ended) -> tuple[bytes, str, str, float]:
    """As level 1 has it."""
    return (ended.value, ended.code, ended.message, ended.time)


def _outcome(envelope: Envelope, ended: Ended) -> object:
    if ended.code:
        return from_code(ended.code, ended.message)
    return unpack(ended.value, envelope.command.result)


def _ignore(_: object) -> None:
    pass


def _nothing() -> None:
    pass
