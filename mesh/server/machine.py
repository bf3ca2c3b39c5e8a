"""The machine: log entries become commits, the same on every server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from mesh.codec import pack, unpack
from mesh.errors import Internal, Invalid, MeshError, from_code
from mesh.registry.envelope import Envelope, open_sealed
from mesh.registry.requests import TABLES
from mesh.store.database import Database
from mesh.store.live import Answers
from mesh.store.snapshot import freeze, thaw

REQUESTS_KEPT = 10_000
"""At least so many of the latest requests are known when they come again,"""
REQUESTS_KEPT_SECONDS = 60.0
"""and all that are younger, by the times in the log,"""
REQUESTS_MAX = 65_536
"""but no more than this."""
FORMAT = 1


class _Done(msgspec.Struct, array_like=True, frozen=True):
    """How a request ended: its packed result, or the error it was refused with."""

    value: bytes = b""
    code: str = ""
    message: str = ""
    time: float = 0.0
    """When it entered the log, by the leader's clock."""


class _Snapshot(msgspec.Struct):
    format: int
    tables: bytes
    requests: list[tuple[str, _Done]]


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

    def snapshot(self) -> Callable[[], bytes]:
        """Copy the state now; the function returned packs it, in any thread."""
        tables = freeze(self.database)
        requests = list(self._done.items())
        return lambda: pack({"format": FORMAT, "tables": tables(), "requests": requests})

    def restore(self, index: int, data: bytes) -> None:  # noqa: ARG002 - the Raft node's interface.
        """Become the state in the snapshot. Raises Invalid, changing nothing, if it is bad."""
        snapshot = unpack(data, _Snapshot)
        if snapshot.format != FORMAT:
            raise Invalid(f"snapshot of format {snapshot.format}; this program knows {FORMAT}")
        thaw(self.database, snapshot.tables)
        self._done = dict(snapshot.requests)
        self.answers.restored()


def _outcome(envelope: Envelope, done: _Done) -> object:
    if done.code:
        return from_code(done.code, done.message)
    return unpack(done.value, envelope.command.result)
