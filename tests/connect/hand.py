"""A clock that a test moves by hand, for parts that sleep."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class HandClock:
    """Stands still. Who sleeps wakes when it is moved that far."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._sleeping: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleeping, (self.now + seconds, next(self._numbers), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let time pass; whoever wakes runs at its own time."""
        end = self.now + seconds
        while self._sleeping and self._sleeping[0][0] <= end:
            when, _, future = heapq.heappop(self._sleeping)
            if future.done():
                continue
            self.now = max(self.now, when)
            future.set_result(None)
            for _ in range(5):
                await asyncio.sleep(0)
        self.now = end
