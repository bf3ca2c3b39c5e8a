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

    def ended(self, name: str, began: float) -> None:
        """Something of this kind, begun then, ends now. Beyond TIMERS_MAX kinds, forget it."""
        window = self.windows.get(name)
        if window is None:
            if len(self.windows) >= TIMERS_MAX:
                return
            window = self.windows[name] = Window(self._clock)
        now = self.now()
        window.add(now - began, now)
