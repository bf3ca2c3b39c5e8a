"""The machine: log entries become commits, the same on every server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from mesh.codec import pack, unpack
from mesh.errors import Internal, Invalid, MeshError, from_code
from mesh.registry.envelope import Envelope, open_sealed
from mesh.registry.requests import TABLES
from mesh.store.database import Database
from mesh.store.live import Answers
from mesh.store.snapshot import STEP_ITEMS, Thawed, freeze, thaw

REQUESTS_KEPT = 10_000
"""At least so many of the latest requests are known when they come again,"""
REQUESTS_KEPT_SECONDS = 60.0
"""and all that are younger, by the times in the log,"""
REQUESTS_MAX = 65_536
"""but no more than this."""
FORMAT = 1


class _Done(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How a request ended: its packed result, or the error it was refused with."""

    value: bytes = b""
    code: str = ""
    message: str = ""
    time: float = 0.0
    """When it entered the log, by the leader's clock."""


class _Head(msgspec.Struct, array_like=True):
    format: int
    requests: int


class Machine:
    """The replicated state: the tables, and how the latest requests ended.

    Implements the Raft node's StateMachine. Everything it does is a function of the log, so that
    all servers hold the same bytes at the same index.
    """

    def __init__(self) -> None:
        self.database = Database(TABLES)
        self.answers = Answers(self.database)
        self._done: dict[str, _Done] = {}

    def apply(self, index: int, data: bytes) -> object:
        """Apply a log entry: the command's result, or the MeshError that refused it.

        Raises Invalid only for bytes this program cannot read: going on would let this server's
        tables differ from the others', so the node has to stop.
        """
        envelope = open_sealed(data)
        known = self._done.get(envelope.request)
        if known is not None:
            return _outcome(envelope, known)
        result = self._commit(index, envelope)
        self._remember(envelope, result)
        return result

    def _commit(self, index: int, envelope: Envelope) -> object:
        transaction = self.database.begin(index, envelope.time)
        command: Any = envelope.command
        try:
            result: object = command.apply(transaction)
        except MeshError as error:
            transaction.rollback()
            result = error
        except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
            # A fault in a command: the same on every server, so refusing it keeps them equal.
            transaction.rollback()
            result = Internal(f"{type(command).__name__} failed: {error!r}")
        self.answers.committed(transaction.commit())
        return result

    def _remember(self, envelope: Envelope, result: object) -> None:
        time = envelope.time
        if isinstance(result, MeshError):
            done = _Done(code=result.code, message=result.message, time=time)
        else:
            done = _Done(value=pack(result), time=time)
        self._done[envelope.request] = done
        # Two at most, so that no single entry pays for all that grew old meanwhile.
        for _ in range(2):
            oldest = next(iter(self._done))
            old = self._done[oldest].time < time - REQUESTS_KEPT_SECONDS
            if len(self._done) > (REQUESTS_KEPT if old else REQUESTS_MAX):
                del self._done[oldest]

    def snapshot(self) -> Iterator[bytes]:
        """Copy the state now; the iterator packs the copy, in any thread.

        An empty piece says no more than that some work was done.
        """
        tables = freeze(self.database)
        return _pieces(tables, list(self._done), list(self._done.values()))

    def prepare(self, index: int, pieces: Iterator[bytes]) -> Restored:  # noqa: ARG002
        """Read what `snapshot` packed, in any thread. Raises Invalid if it is bad."""
        head = unpack(next(pieces, b""), _Head)
        if head.format != FORMAT:
            raise Invalid(f"snapshot of format {head.format}; this program knows {FORMAT}")
        tables = thaw(self.database, pieces)
        done: dict[str, _Done] = {}
        for piece in pieces:
            done.update(unpack(piece, list[tuple[str, _Done]]))
        if len(done) != head.requests:
            raise Invalid(f"snapshot has {len(done)} of {head.requests} requests")
        return Restored(self, tables, done)

    def trade(self, done: dict[str, _Done]) -> dict[str, _Done]:
        """The tables were replaced: replace the requests that led to them too."""
        former, self._done = self._done, done
        self.answers.restored()
        return former


class Restored:
    """A state of the machine out of a snapshot, which `install` trades for the present one."""

    def __init__(self, machine: Machine, tables: Thawed, done: dict[str, _Done]) -> None:
        self._machine, self._tables, self._done = machine, tables, done

    def install(self) -> None:
        """Trade places with the machine's state. Takes no longer for many rows."""
        self._tables.install()
        self._done = self._machine.trade(self._done)

    def discard(self) -> Iterator[None]:
        """Free the state that is not in place, a little at each step; in any thread."""
        yield from self._tables.discard()
        while self._done:
            for _ in range(min(STEP_ITEMS, len(self._done))):
                self._done.popitem()
            yield


def _pieces(tables: Iterator[bytes], requests: list[str], ends: list[_Done]) -> Iterator[bytes]:
    yield pack(_Head(FORMAT, len(requests)))
    yield from tables
    for first in range(0, len(requests), STEP_ITEMS):
        part = slice(first, first + STEP_ITEMS)
        yield pack(list(zip(requests[part], ends[part], strict=True)))


def _outcome(envelope: Envelope, done: _Done) -> object:
    if done.code:
        return from_code(done.code, done.message)
    return unpack(done.value, envelope.command.result)
