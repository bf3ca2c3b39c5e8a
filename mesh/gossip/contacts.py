"""Contacts: when each member answered this one last, directly and in time."""

from __future__ import annotations


class Contacts:
    """The last answer of each member; one entry a member, until it is forgotten."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float]] = {}

    def note(self, node: str, now: float, seconds: float) -> None:
        """It answered after so many seconds."""
        self._last[node] = now, seconds

    def forget(self, node: str) -> None:
        """It is no member any more."""
        self._last.pop(node, None)

    def last(self, node: str) -> tuple[float, float] | None:
        """When it answered, and the round trip in seconds; None before the first answer."""
        return self._last.get(node)
