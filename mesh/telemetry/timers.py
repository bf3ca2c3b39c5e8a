"""Timers: windows of durations by name."""

from __future__ import annotations

from collections.abc import Iterable

from mesh.clock import Clock
from mesh.telemetry.windows import Window

TIMERS_MAX = 512


class Timers:
    """How long things of several kinds took. Those named at first are there before any was."""

    def __init__(self, clock: Clock, names: Iterable[str] = ()) -> None:
        self._clock = clock
        self.windows = {name: Window(clock) for name in names}
        self.now = clock.monotonic
        """When something begins."""

    def ended(self, name: str, began: float) -> float:
        """Something of this kind, begun then, ends now: when that is.

        Beyond TIMERS_MAX kinds, forget it.
        """
        now = self.now()
        window = self.windows.get(name) or self._new(name)
        if window is not None:
            window.add(now - began, now)
        return now

    def window(self, name: str) -> Window:
        """Where durations of this kind are; beyond TIMERS_MAX kinds one that nobody sees."""
        return self.windows.get(name) or self._new(name) or Window(self._clock)

    def add(self, name: str, count: int, seconds: float, samples: Iterable[float]) -> None:
        """So many things of this kind took so long in all, and some of them as the samples say."""
        window = self.windows.get(name) or self._new(name)
        if window is not None:
            window.merge(count, seconds, samples)

    def _new(self, name: str) -> Window | None:
        if len(self.windows) >= TIMERS_MAX:
            return None
        window = self.windows[name] = Window(self._clock)
        return window
