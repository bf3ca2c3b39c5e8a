"""A pace: so many things a second, each told how long to wait for its turn."""

from __future__ import annotations


class Pace:
    """Turns at equal distances. What has to wait too long gets none."""

    def __init__(self) -> None:
        self._next = float("-inf")

    def reserve(self, now: float, per_second: float, patience: float) -> float | None:
        """Seconds until the next turn, which is then taken; None when that is too long."""
        wait = max(0.0, self._next - now)
        if wait > patience:
            return None
        self._next = now + wait + 1.0 / per_second
        return wait
