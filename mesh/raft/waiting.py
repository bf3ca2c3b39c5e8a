"""Waiting callers: each has a deadline, after which the outcome is unknown."""

from __future__ import annotations

import asyncio
from collections import deque

from mesh.clock import Clock
from mesh.errors import MeshError, OutcomeUnknown

Answered = tuple[int, object]  # Log index and result.


class Waiting:
    """Whoever waits for something to be committed. Belongs to the event loop."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self._deadlines: deque[tuple[float, asyncio.Future[Answered]]] = deque()

    def begin(self, now: float | None = None) -> asyncio.Future[Answered]:
        """Somebody waits from now on, which is this by the clock if it is given."""
        future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        began = self._clock.monotonic() if now is None else now
        self._deadlines.append((began + self._seconds, future))
        return future

    def expire(self) -> None:
        """Answer those whose time is over."""
        now, deadlines = self._clock.monotonic(), self._deadlines
        while deadlines:
            deadline, future = deadlines[0]
            if not future.done():
                if deadline > now:
                    return
                settle(future, (0, None), OutcomeUnknown("no majority answered in time"))
            deadlines.popleft()


def settle(future: asyncio.Future[Answered], answer: Answered, error: MeshError | None) -> None:
    """Answer who waits, once."""
    if future.done():
        return
    if error is None:
        future.set_result(answer)
    else:
        future.set_exception(error)
