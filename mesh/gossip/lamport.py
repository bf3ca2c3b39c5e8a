"""Lamport time: a clock that what is heard moves on, and what was seen at each of its times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

TIME_MAX = 2**64 - 1
SLOTS = 512
"""Times a ring remembers, as Serf's buffers do."""
RING_MAX_BYTES = 8 * 1024 * 1024
"""What one ring remembers at most; all of it travels in every push/pull."""


class Lamport:
    """A clock that goes on with what happens, not with time. Begins at 1."""

    def __init__(self) -> None:
        self.time = 1

    def witness(self, time: int) -> None:
        """Somebody is at this time: whatever happens here next is later."""
        self.time = min(max(self.time, time + 1), TIME_MAX)

    def next(self) -> int:
        """The time of something that happens now; moves the clock on."""
        time = self.time
        self.witness(time)
        return time


class Ring(Generic[T]):
    """What was seen in the last SLOTS Lamport times, so that nothing is new twice.

    An item takes `size(item)` bytes. Beyond RING_MAX_BYTES the oldest times are forgotten, and what
    is as old is refused from then on.
    """

    def __init__(self, size: Callable[[T], int]) -> None:
        self._size = size
        self._slots: dict[int, tuple[int, dict[T, None]]] = {}
        self._bytes = 0
        self.floor = 0
        """Whatever is older than this is refused."""

    def admit(self, clock: int, time: int, item: T) -> bool:
        """Whether this is new and not too old, now that the clock shows this; remembers it."""
        if time < self.floor or time < clock - SLOTS:
            return False
        held, items = self._slots.get(time % SLOTS, (time, {}))
        if held > time or (held == time and item in items):
            return False
        if held < time:
            self._bytes -= sum(map(self._size, items))
            items = {}
        items[item] = None
        self._slots[time % SLOTS] = (time, items)
        self._bytes += self._size(item)
        while self._bytes > RING_MAX_BYTES:
            self._forget_oldest()
        return True

    def _forget_oldest(self) -> None:
        time, items = self._slots.pop(
            min(self._slots.values(), key=lambda slot: slot[0])[0] % SLOTS
        )
        self._bytes -= sum(map(self._size, items))
        self.floor = max(self.floor, time + 1)

    def slots(self) -> list[tuple[int, list[T]] | None]:
        """Every slot in order, with its time; None where nothing happened."""
        held = (self._slots.get(place) for place in range(SLOTS))
        return [slot and (slot[0], list(slot[1])) for slot in held]
