"""The thread that writes and reads snapshots, and leaves the interpreter to the event loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

from mesh.errors import Invalid
from mesh.raft.snapshots import Incoming, Snapshots, Stored

SLICE_SECONDS = 0.0005  # It computes about so long at a stretch, a piece or two,
REST = 2.0  # and then rests this many times as long.

T = TypeVar("T")


class Prepared(Protocol):
    """A state of the machine that was read from a snapshot and is not in place yet."""

    def install(self) -> None:
        """Trade places with the present state. Quick, in the event loop."""
        ...

    def discard(self) -> Iterator[None]:
        """Free whichever state is not in place, a little at each step; in another thread."""
        ...


class StateMachine(Protocol):
    """What the log is applied to."""

    def apply(self, index: int, data: bytes) -> object:
        """Apply a committed command. A raise ends the node; errors are results."""
        ...

    def snapshot(self) -> Iterator[bytes]:
        """Copy the state quickly; the iterator packs the copy, in another thread.

        No piece is over PIECE_BYTES_MAX, and each should be small: what one takes is how long
        the event loop may have to wait. An empty piece is not stored, it is a chance to rest.
        """
        ...

    def prepare(self, index: int, pieces: Iterator[bytes]) -> Prepared:
        """Read what a snapshot of the entry at this index packed; in another thread.

        It changes nothing that is in place. Raises Invalid for pieces it cannot read.
        """
        ...


class Refused(Exception):
    """A snapshot is as its maker wrote it, but this program cannot read it."""


class Abandoned(Exception):
    """The node ends: what the thread was doing is not needed any more."""


def unhurried(steps: Iterable[T]) -> Iterator[T]:
    """The same steps, with rests between them in which the event loop has the interpreter alone.

    Without them the loop would wait out the switch interval, 5 ms, at each of its system calls.
    """
    began = time.thread_time()
    for step in steps:
        yield step
        spent = time.thread_time() - began
        if spent >= SLICE_SECONDS:
            time.sleep(REST * spent)
            began = time.thread_time()


class Packer:
    """Does one thing at a time, in the order in which it was asked. `stop` gives up the rest."""

    def __init__(self, snapshots: Snapshots, machine: StateMachine) -> None:
        self._snapshots, self._machine = snapshots, machine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="raft-snapshot")
        self._stopped = False

    def save(self, index: int, term: int) -> Future[Stored]:
        """Copy the machine's state now, after the entry with this index and term, and store it."""
        pieces = self._machine.snapshot()
        stored = (piece for piece in self._slices(pieces) if piece)
        return self._begin(lambda: self._snapshots.save(index, term, stored))

    def receive(self, incoming: Incoming) -> Future[tuple[Stored, Prepared]]:
        """Verify what a leader sent, read it and keep it. Invalid: it is not what was announced.

        A machine that cannot read it makes the error a Refused, and nothing on disk has changed.
        """
        return self._begin(partial(self._receive, incoming))

    def discard(self, prepared: Prepared) -> Future[None]:
        """Free the state that is not in place."""

        def free() -> None:
            for _ in self._slices(prepared.discard()):
                pass

        return self._begin(free)

    def stop(self) -> None:
        """Give up what was not finished; blocks until the thread has ended."""
        self._stopped = True
        self._thread.shutdown()

    def _begin(self, work: Callable[[], T]) -> Future[T]:
        return self._thread.submit(work)

    def _receive(self, incoming: Incoming) -> tuple[Stored, Prepared]:
        stored = self._snapshots.check(incoming)
        pieces = self._slices(stored.pieces())
        try:
            prepared = self._machine.prepare(stored.index, pieces)
        except Invalid as error:
            raise Refused(error.message) from error
        return self._snapshots.adopt(stored), prepared

    def _slices(self, steps: Iterable[T]) -> Iterator[T]:
        for step in unhurried(steps):
            if self._stopped:
                raise Abandoned
            yield step
