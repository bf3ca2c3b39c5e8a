"""Whether the clock of another voter runs as fast as ours, from what it shows in its answers."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

RATE_ERROR = 0.1  # A clock may run so much faster or slower than ours, as a part.
WINDOW_SECONDS = 3.0  # What is measured: the last seconds, by our clock.
LEAST_SECONDS = 1.0  # A shorter measurement proves nothing.
_KEEP_SECONDS = 0.1  # Between two answers that are remembered.


class _Answer(NamedTuple):
    sent: float  # By our clock, when the question left.
    shown: float  # By its clock, somewhere between.
    received: float  # By our clock.


class ClockRate:
    """Measures one clock against ours. All times are seconds of monotonic clocks.

    Nobody knows when between question and answer a clock was read, so two answers give two
    bounds of its rate. It is steady while the bounds prove it near ours, and odd once they prove
    the contrary. After that the measurement begins again.
    """

    def __init__(self) -> None:
        self.odd = 0  # So often it was proved to run too fast or too slow.
        self._answers: deque[_Answer] = deque()
        self._proved = float("-inf")

    def answered(self, sent: float, shown: float, received: float) -> None:
        """An answer came to what was sent then; its clock showed this meanwhile."""
        answer, answers = _Answer(sent, shown, received), self._answers
        if answers and sent <= answers[-1].sent:
            return
        while len(answers) > 1 and sent - answers[1].sent >= WINDOW_SECONDS:
            answers.popleft()
        if answers and (_is_odd(answers[0], answer) or _is_odd(answers[-1], answer)):
            self.odd += 1
            self._proved = float("-inf")
            answers.clear()
        elif answers and _is_steady(answers[0], answer):
            self._proved = received
        if not answers or sent - answers[-1].sent >= _KEEP_SECONDS:
            answers.append(answer)

    def steady(self, now: float) -> bool:
        """Whether it was proved within the last window to run at nearly our rate."""
        return now - self._proved <= WINDOW_SECONDS


def _is_odd(before: _Answer, after: _Answer) -> bool:
    theirs = after.shown - before.shown
    most, least = after.received - before.sent, max(0.0, after.sent - before.received)
    return theirs > (1 + RATE_ERROR) * most or theirs < (1 - RATE_ERROR) * least


def _is_steady(before: _Answer, after: _Answer) -> bool:
    theirs = after.shown - before.shown
    most, least = after.received - before.sent, after.sent - before.received
    return least >= LEAST_SECONDS and (1 - RATE_ERROR) * most <= theirs <= (1 + RATE_ERROR) * least
