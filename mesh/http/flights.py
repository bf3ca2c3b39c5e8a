"""Flights: work for which many wait is done once, and goes on a while when nobody waits.

Who asks for something, is told other news first and asks again finds it under way, however long it
takes and however often there is other news.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

import msgspec

from mesh.tasks import spawn

T = TypeVar("T")

LEFT_MAX = 256
"""So many go on, or have ended, with nobody waiting. The oldest are dropped first."""
LEFT_MAX_BYTES = 16 * 1024 * 1024
"""So much may they have found."""


class Flight(msgspec.Struct, eq=False):
    """Work under way, by what it is known by."""

    key: Hashable
    since: float = math.inf
    """What it will find is of this time or later, in seconds of the clock of whoever does it."""
    size: int = 0
    """How many bytes it found."""
    counted: int = 0
    """How many of them count among those that are left."""
    waiting: int = 0
    work: asyncio.Task[Any] | None = None
    end: asyncio.TimerHandle | None = None

    @property
    def task(self) -> asyncio.Task[Any]:
        """The work; whoever waits for it must not cancel it."""
        assert self.work is not None
        return self.work


Work = Callable[[Flight], Coroutine[Any, Any, T]]


class Flights:
    """All that is under way. Whoever joins a flight has to leave it."""

    def __init__(self) -> None:
        self._flying: dict[Hashable, Flight] = {}
        self._left: dict[Flight, None] = {}  # Nobody waits for these; the oldest first.
        self._all: set[asyncio.Task[Any]] = set()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._all)

    def join(self, key: Hashable, work: Work[T], since: float = 0.0) -> Flight:
        """The flight with this key, if what it finds is of that time or later, or a new one.

        What one found when nobody waited is for who joins next, and for nobody after.
        """
        flight = self._flying.get(key)
        if flight is None or flight.since < since:
            if flight is not None and not flight.waiting:
                self._drop(flight)
            flight = self._flying[key] = Flight(key)
            flight.work = spawn(work(flight))
            self._all.add(flight.work)
            flight.work.add_done_callback(lambda _: self._ended(flight))
        elif flight in self._left:
            self._unleave(flight)
        if flight.task.done():
            self._forget(flight)
        flight.waiting += 1
        return flight

    def leave(self, flight: Flight, seconds: float, *, told: bool = True) -> None:
        """Wait no more; the last one who does has it go on for so long.

        An end that whoever waited was not told is kept as long.
        """
        flight.waiting -= 1
        if flight.waiting:
            return
        ended = flight.task.done()
        if ended and (told or _failed(flight.task)):
            self._forget(flight)
        elif ended:
            self._flying.setdefault(flight.key, flight)
        if seconds <= 0 or self._flying.get(flight.key) is not flight:
            self._drop(flight)
            return
        self._left[flight] = None
        self._count(flight)
        loop = asyncio.get_running_loop()
        flight.end = loop.call_later(seconds, self._drop, flight)
        self._bound()

    async def share(self, key: Hashable, work: Work[T]) -> T:
        """What the flight with this key finds; it ends with the last one who waits for it."""
        flight = self.join(key, work)
        try:
            await asyncio.wait([flight.task])
            found: T = flight.task.result()
            return found
        finally:
            self.leave(flight, 0.0)

    async def stop(self) -> None:
        """End all that is under way."""
        for flight in [*self._left]:
            self._drop(flight)
        left = [*self._all]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _ended(self, flight: Flight) -> None:
        self._all.discard(flight.task)
        if flight.waiting:
            self._forget(flight)  # Who comes later may know more than was found.
        elif flight in self._left:
            self._count(flight)
            self._bound()

    def _count(self, flight: Flight) -> None:
        """Count what it found, once it has: it may end before `_ended` hears of that."""
        found = flight.size if flight.task.done() else 0
        self.bytes += found - flight.counted
        flight.counted = found

    def _bound(self) -> None:
        while len(self._left) > LEFT_MAX or self.bytes > LEFT_MAX_BYTES:
            self._drop(next(iter(self._left)))

    def _unleave(self, flight: Flight) -> None:
        del self._left[flight]
        if flight.end is not None:
            flight.end.cancel()
            flight.end = None
        self.bytes -= flight.counted
        flight.counted = 0

    def _drop(self, flight: Flight) -> None:
        if flight in self._left:
            self._unleave(flight)
        self._forget(flight)
        flight.task.cancel()
        if flight.task.done():
            _failed(flight.task)  # Nobody is there to hear of it.

    def _forget(self, flight: Flight) -> None:
        if self._flying.get(flight.key) is flight:
            del self._flying[flight.key]


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None
