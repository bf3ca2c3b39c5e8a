"""Patience: a step is repeated while that may help, and no longer than its caller can wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import msgspec

from mesh.clock import Clock, Dice
from mesh.errors import MeshError, OutcomeUnknown, Unreachable
from mesh.registry.port import ReadOptions

T = TypeVar("T")

HOLD_SECONDS = 7.0
PAUSE_SECONDS = (0.02, 0.3)


class Patience:
    """Repeats a step while its error says that a retry helps, up to the hold time.

    The hold time counts from the first failure, so that a step that failed late is repeated too.
    Within the wait of a blocking read it counts anew after each step that lasted longer.
    """

    def __init__(self, hold_seconds: float, world: tuple[Clock, Dice], wait: float = 0.0) -> None:
        self._clock, self._dice = world
        self._hold = hold_seconds
        self._step_began = self._clock.monotonic() if wait else 0.0
        self._wait_until = self._step_began + wait
        self._until = 0.0
        self._unknown = False

    async def rest(self, error: MeshError) -> None:
        """Wait a moment; raises the error when it is final or time is out."""
        self._unknown = self._unknown or isinstance(error, OutcomeUnknown)
        if not error.retry:
            raise error
        now = self._clock.monotonic()
        worked = self._step_began + self._hold < now < self._wait_until
        if not self._until or worked:
            self._until = now + self._hold
        if now >= self._until:
            if self._unknown and not isinstance(error, OutcomeUnknown):
                raise OutcomeUnknown("the write was sent, and its outcome is not known") from error
            raise error
        await self._clock.sleep(self._dice.uniform(*PAUSE_SECONDS))
        self._step_began = self._clock.monotonic()

    def remaining(self, options: ReadOptions) -> ReadOptions:
        """The options for a repeated read: it waits no longer in all than was asked."""
        if not self._until or not options.index:
            return options
        return msgspec.structs.replace(
            options, wait=max(0.0, self._wait_until - self._clock.monotonic())
        )


async def bounded(work: Awaitable[T], seconds: float) -> T:
    """What the work comes to. Raises Unreachable when that takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise Unreachable(f"no answer within {seconds:g} s") from None
