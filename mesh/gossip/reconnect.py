"""Reconnecting: failed members are tried again, each less often the longer it stays away."""

from __future__ import annotations

from collections.abc import Iterable


class Retries:
    """When each failed member may be tried again.

    The pause doubles with every try, up to the longest one: a member that is gone for days is not
    worth a connection every half minute by every node (serf#372).
    """

    def __init__(self, shortest_seconds: float, longest_seconds: float) -> None:
        self._shortest, self._longest = shortest_seconds, longest_seconds
        self._tried: dict[str, tuple[float, float]] = {}

    def due(self, now: float, names: Iterable[str]) -> list[str]:
        """Those of the names that may be tried now."""
        return [name for name in names if self._tried.get(name, (0.0, now))[1] <= now]

    def tried(self, now: float, name: str) -> None:
        """It was tried now."""
        pause = self._tried.get(name, (self._shortest, now))[0]
        self._tried[name] = (min(2 * pause, self._longest), now + pause)

    def forget(self, name: str) -> None:
        """It is back, or will not come back."""
        self._tried.pop(name, None)
