"""The machine: log entries become commits, the same on every server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from mesh.codec import pack, unpack
from mesh.errors import Conflict, Internal, MeshError, Outdated, from_code
from mesh.registry.envelope import Envelope, digest, open_sealed
from mesh.registry.levels import EXACT, HIGHEST, Finalize, Found, level_of, readable
from mesh.registry.requests import TABLES
from mesh.store.database import Database
from mesh.store.ledger import HORIZON, Ended
from mesh.store.live import Answers
from mesh.store.snapshot import freeze, thaw
from mesh.store.table import Bucket


class _Head(msgspec.Struct):
    format: int


class _Snapshot(msgspec.Struct):
    format: int
    tables: bytes
    requests: list[tuple[str, Ended]]
    horizon: int = 0


class Machine:
    """The replicated state: the tables, and how the latest requests ended.

    Implements the Raft node's StateMachine. Everything it does is a function of the log, so that
    all servers hold the same bytes at the same index. `highest` is the level up to which it reads;
    `on_level` hears of every change of the level.
    """

    def __init__(self, highest: int = HIGHEST) -> None:
        self.highest = highest
        self.database = Database(TABLES)
        self.answers = Answers(self.database)
        self.on_level: Callable[[int], None] = _ignore

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
        except MeshError as error:
            transaction.rollback()
            result = error
        except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
            # A fault in a command: the same on every server, so refusing it keeps them equal.
            transaction.rollback()
            result = Internal(f"{type(command).__name__} failed: {error!r}")
        changed = transaction.commit()
        level = level_of(self.database)
        if before < EXACT <= level:
            # What was forgotten until now left no trace, and some servers know less than others.
            self.database.ledger.horizon = index
            changed.add(HORIZON)
        self._remember(index if level >= EXACT else 0, envelope, data, result, changed)
        self.answers.committed(changed)
        if level != before:
            self.on_level(level)
        return result

    def _remember(
        self, index: int, envelope: Envelope, data: bytes, result: object, changed: set[Bucket]
    ) -> None:
        asked = digest(data) if index else b""
        if isinstance(result, MeshError):
            ended = Ended(b"", result.code, result.message, envelope.time, index, asked)
        else:
            ended = Ended(pack(result), "", "", envelope.time, index, asked)
        self.database.ledger.remember(envelope.request, ended, changed)

    def snapshot(self) -> Callable[[], bytes]:
        """Copy the state now; the function returned packs it, in any thread."""
        level, ledger = level_of(self.database), self.database.ledger
        tables = freeze(self.database, level)
        requests, horizon = list(ledger.ended.items()), ledger.horizon

        def packed() -> bytes:
            body: dict[str, object] = {"format": level, "tables": tables()}
            if level >= EXACT:
                return pack(body | {"requests": requests, "horizon": horizon})
            short = [(key, (one.value, one.code, one.message, one.time)) for key, one in requests]
            return pack(body | {"requests": short})

        return packed

    def restore(self, index: int, data: bytes) -> None:  # noqa: ARG002 - the Raft node's interface.
        """Become the state in the snapshot. Raises Invalid, changing nothing, if it is bad."""
        readable("snapshot", unpack(data, _Head).format, self.highest)
        snapshot = unpack(data, _Snapshot)
        before = level_of(self.database)
        thaw(self.database, snapshot.tables)
        self.database.ledger.restore(snapshot.requests, snapshot.horizon)
        self.answers.restored()
        if (level := level_of(self.database)) != before:
            self.on_level(level)


def _outcome(envelope: Envelope, ended: Ended) -> object:
    if ended.code:
        return from_code(ended.code, ended.message)
    return unpack(ended.value, envelope.command.result)


def _ignore(_level: int) -> None:
    pass
