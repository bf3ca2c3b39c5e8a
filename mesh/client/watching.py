"""Watching: a read repeated for ever, and what to make of each answer and each failure. No I/O."""

from __future__ import annotations

import uuid
from typing import Generic, TypeVar

import msgspec

from mesh.client.call import Answer, Call
from mesh.errors import Busy, Internal, MeshError, NoLeader, Unreachable

T = TypeVar("T")

PASSING = (Unreachable, NoLeader, Busy, Internal)
"""What may be over soon: an agent that restarts, an election, too many requests."""
PAUSE_SECONDS = (0.1, 15.0)
"""The first pause after a failure, and the longest; each is twice the one before, give or take."""


class Change(msgspec.Struct, Generic[T], frozen=True):
    """Something is different now."""

    value: T
    before: T | None
    """What it was; None the first time."""
    index: int
    """The log index of the answer."""
    reset: bool = False
    """The index went back: the data was restored, or is of another cluster. Trust nothing older."""


class Watching(Generic[T]):
    """Follows one read by its index, through failures.

    `call` is what to ask next; `heard` takes the answer; `failed` says how long to pause. An answer
    that only moved its index is no change, and neither is one after a time-out.
    """

    def __init__(self, call: Call[Answer[T]]) -> None:
        self._read = call
        self._index = 0
        self._last: Answer[T] | None = None
        self._failures = 0

    @property
    def call(self) -> Call[Answer[T]]:
        """What to ask: at once, or blocking until there is something newer."""
        return self._read.newer_than(self._index) if self._index else self._read

    def heard(self, answer: Answer[T]) -> Change[T] | None:
        """Take an answer; the change that it means, if any."""
        self._failures = 0
        last, reset = self._last, answer.index < self._index
        # From an index that went back nothing can be waited for: the next read starts afresh.
        self._index = 0 if reset else answer.index
        self._last = answer
        if last is not None and last.value == answer.value and not reset:
            return None
        return Change(answer.value, None if last is None else last.value, answer.index, reset)

    def failed(self, error: MeshError) -> float:
        """How many seconds to pause before asking again. Raises the error if that is no use."""
        if not isinstance(error, PASSING):
            raise error
        # What was known before a restart may lie ahead of what the server knows now: the index of
        # the next answer tells.
        self._failures += 1
        return pause_after(self._failures)


def pause_after(failures: int) -> float:
    """How many seconds to pause after so many failures in a row."""
    first, longest = PAUSE_SECONDS
    pause = min(longest, first * float(1 << min(failures - 1, 16)))
    return pause * (0.5 + uuid.uuid4().int % 1024 / 1024)
