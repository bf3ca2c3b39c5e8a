"""Waiting callers: each has a deadline, after which the outcome is unknown."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from mesh.clock import Clock
from mesh.errors import MeshError, OutcomeUnknown
from mesh.telemetry.windows import Window

log = logging.getLogger(__name__)

Answered = tuple[int, object]  # Log index and result.
Told = Callable[[int, object, MeshError | None], None]
"""Is told a log index and a result, or else an error."""


class Caller:
    """Somebody to be told once how a proposal ended."""

    __slots__ = ("_waiting", "began", "tell")

    def __init__(self, waiting: Waiting, tell: Told, began: float) -> None:
        self._waiting, self.began = waiting, began
        self.tell: Told | None = tell

    def done(self) -> bool:
        """Whether the answer is there."""
        return self.tell is None

    def __call__(self, index: int, result: object, error: MeshError | None) -> None:
        """It ended so. Only the first time counts."""
        tell, self.tell = self.tell, None
        if tell is not None:
            self._waiting.answer(tell, self.began, (index, result, error))


class Waiting:
    """Whoever waits for something to be committed. Belongs to the event loop."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self._loop: asyncio.AbstractEventLoop | None = None  # To ask for it is a system call.
        self._deadlines: deque[tuple[float, asyncio.Future[Answered] | Caller]] = deque()
        self._answers: list[tuple[Told, float, tuple[int, object, MeshError | None]]] = []
        self.times: Window | None = None
        """Is told how long those waited whose proposals were committed."""

    def _here(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def begin(self) -> asyncio.Future[Answered]:
        """Somebody waits from now on."""
        future: asyncio.Future[Answered] = self._here().create_future()
        self._deadlines.append((self._clock.monotonic() + self._seconds, future))
        return future

    def call(self, tell: Told) -> Caller:
        """From now on somebody waits who is called once, soon after the answer is there."""
        began = self._clock.monotonic()
        caller = Caller(self, tell, began)
        self._deadlines.append((began + self._seconds, caller))
        return caller

    def answer(
        self, tell: Told, began: float, answer: tuple[int, object, MeshError | None]
    ) -> None:
        """Call soon, with all who are answered until then: not within a step of the log."""
        if not self._answers:
            self._here().call_soon(self._tell)
        self._answers.append((tell, began, answer))

    def _tell(self) -> None:
        answers, self._answers = self._answers, []
        now = self._clock.monotonic()
        for tell, began, answer in answers:
            if answer[2] is None and self.times is not None:
                self.times.add(now - began, now)
            try:
                tell(*answer)
            except Exception:
                log.exception("who was told of a log entry failed")

    def expire(self) -> None:
        """Answer those whose time is over."""
        now, deadlines = self._clock.monotonic(), self._deadlines
        while deadlines:
            deadline, waiting = deadlines[0]
            if not waiting.done():
                if deadline > now:
                    return
                late = OutcomeUnknown("no majority answered in time")
                if isinstance(waiting, Caller):
                    waiting(0, None, late)
                else:
                    settle(waiting, (0, None), late)
            deadlines.popleft()


def settle(future: asyncio.Future[Answered], answer: Answered, error: MeshError | None) -> None:
    """Answer who waits, once."""
    if future.done():
        return
    if error is None:
        future.set_result(answer)
    else:
        future.set_exception(error)
