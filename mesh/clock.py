"""Time and chance: the only door to both, so that a simulated world can own them."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import MutableSequence, Sequence
from functools import partial
from typing import Protocol, TypeVar

T = TypeVar("T")
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has the first.


class Clock(Protocol):
    """Where a part gets its time. All values are seconds."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    def wall(self) -> float:
        """Seconds since the Unix epoch; may jump."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait this long."""
        ...


class Dice(Protocol):
    """Where a part gets its randomness."""

    def uniform(self, low: float, high: float) -> float:
        """Any value between low and high."""
        ...

    def below(self, limit: int) -> int:
        """Any whole number from 0 up to, not including, limit."""
        ...

    def choice(self, items: Sequence[T]) -> T:
        """Any one of the items, which must not be empty."""
        ...

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Some distinct items in random order; all of them if there are fewer than count."""
        ...

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Bring the items into random order, in place."""
        ...

    def uuid(self) -> str:
        """A random UUID (RFC 9562 version 4) in its text form."""
        ...


_UUID_FIXED = 4 << 76 | 2 << 62
"""The version and the variant."""
_UUID_FREE = ~(15 << 76 | 3 << 62)


class SystemClock:
    """The machine's own clocks."""

    # Without a frame of its own: every request asks several times.
    monotonic = staticmethod(partial(time.clock_gettime, _STEADY))
    """Seconds from an arbitrary start; goes on while the machine is suspended."""

    def wall(self) -> float:
        """Seconds since the Unix epoch; may jump."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait this long in the running event loop."""
        await asyncio.sleep(seconds)


class SeededDice:
    """Randomness from a seed, or from the system when there is none."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)

    def uniform(self, low: float, high: float) -> float:
        """Any value between low and high."""
        return self._random.uniform(low, high)

    def below(self, limit: int) -> int:
        """Any whole number from 0 up to, not including, limit."""
        # What `randrange` does in the end: answers are shuffled by this, draw by draw.
        bits, draw = limit.bit_length(), self._random.getrandbits
        while (drawn := draw(bits)) >= limit:
            pass
        return drawn

    def choice(self, items: Sequence[T]) -> T:
        """Any one of the items, which must not be empty."""
        return self._random.choice(items)

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Some distinct items in random order; all of them if there are fewer than count."""
        return self._random.sample(items, min(count, len(items)))

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Bring the items into random order, in place."""
        self._random.shuffle(items)

    def uuid(self) -> str:
        """A random UUID (RFC 9562 version 4) in its text form."""
        # What uuid.UUID would say of these bits, at a fifth of the time: every request has one.
        digits = f"{self._random.getrandbits(128) & _UUID_FREE | _UUID_FIXED:032x}"
        first, second, third, fourth = digits[:8], digits[8:12], digits[12:16], digits[16:20]
        return f"{first}-{second}-{third}-{fourth}-{digits[20:]}"


def secret_bytes(count: int) -> bytes:
    """Bytes that nobody can foresee and that never come again: for keys and nonces."""
    return os.urandom(count)
