"""Proposals: commands that wait for their place in the log, and for the log to be committed."""

from __future__ import annotations

from collections.abc import Callable

from mesh.errors import Busy, MeshError, NoLeader, OutcomeUnknown
from mesh.raft.engine import COMMAND, Engine

PENDING_MAX = 16384  # Proposals that wait for an answer.
PENDING_BYTES_MAX = 256 << 20  # And the bytes of their commands.

Done = Callable[[int, object, MeshError | None], None]


class Proposals:
    """What one leader was asked to write. Each `done` is called exactly once."""

    def __init__(self) -> None:
        self._staged: list[tuple[bytes, Done]] = []
        """Entries, each with its kind before it."""
        self._pending: dict[int, tuple[int, Done, int]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._staged) + len(self._pending)

    @property
    def staged(self) -> bool:
        """Whether some are not in the log yet."""
        return bool(self._staged)

    def stage(self, command: bytes, done: Done, kind: bytes = COMMAND) -> None:
        """Take a proposal, to be put into the log by the next `append`."""
        if len(self._staged) + len(self._pending) >= PENDING_MAX:
            done(0, None, Busy(f"{PENDING_MAX} proposals wait already"))
        elif self._bytes + len(command) > PENDING_BYTES_MAX:
            done(0, None, Busy(f"proposals of {PENDING_BYTES_MAX} bytes wait already"))
        else:
            entry = kind + command
            self._bytes += len(entry)
            self._staged.append((entry, done))

    def append(self, engine: Engine) -> None:
        """Put all that are staged into the leader's log."""
        staged, self._staged = self._staged, []
        if staged:
            term, last = engine.term, engine.extend([entry for entry, _ in staged])
            for index, (entry, done) in enumerate(staged, last - len(staged) + 1):
                self._pending[index] = (term, done, len(entry))

    def applied(self, index: int, term: int, result: object) -> None:
        """The entry at this index is committed, in this term, with this result."""
        if (waiting := self._pending.pop(index, None)) is None:
            return
        proposed_term, done, size = waiting
        self._bytes -= size
        if proposed_term == term:
            done(index, result, None)
        else:
            done(0, None, OutcomeUnknown("another leader's entry took the place of this write"))

    def refuse_staged(self, reason: str) -> None:
        """Nothing was done about those that are not in the log."""
        staged, self._staged = self._staged, []
        for entry, done in staged:
            self._bytes -= len(entry)
            done(0, None, NoLeader(reason))

    def refuse_pending(self, reason: str) -> None:
        """Those in the log will never be applied, for certain."""
        self._fail_pending(NoLeader(reason))

    def lose_pending(self) -> None:
        """Whether those in the log will be applied is not known here any more."""
        self._fail_pending(OutcomeUnknown("the leader changed before the write was confirmed"))

    def _fail_pending(self, error: MeshError) -> None:
        pending, self._pending = self._pending, {}
        for _, done, size in pending.values():
            self._bytes -= size
            done(0, None, error)
