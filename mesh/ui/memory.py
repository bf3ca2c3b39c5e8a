"""Memory: since when things are as they are, which nothing tells, and answers kept a while."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LOOK_SECONDS = 10.0
"""Whoever looked so lately and did not see something knows since when it is there."""
KEPT_MAX = 64
PLACES_MAX = 64
"""So many datacenters are remembered: whoever asks names them, also such as there are none."""


class Memory:
    """What a process remembers for the pages that ask it again and again."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, tuple[float, bool]]] = {}
        self._looked: dict[str, float] = {}
        self._kept: dict[str, tuple[float, Any]] = {}

    def look(self, where: str, keys: Iterable[str], now: float) -> Mapping[str, tuple[float, bool]]:
        """Since when each of these is there, in seconds, and whether it may be for longer."""
        before = self._seen.get(where, {})
        lately = now - self._looked.get(where, 0.0) <= LOOK_SECONDS
        seen = {key: before.get(key) or (now, not lately) for key in keys}
        if where not in self._seen and len(self._seen) >= PLACES_MAX:
            oldest = min(self._looked, key=self._looked.__getitem__)
            del self._seen[oldest], self._looked[oldest]
        self._seen[where], self._looked[where] = seen, now
        return seen

    def keep(self, key: str, value: Any, until: float) -> None:
        """Have a value at hand until then, by a clock that does not jump."""
        if key not in self._kept and len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        self._kept[key] = (until, value)

    def kept(self, key: str, now: float) -> Any:
        """The value that is kept, or None."""
        until, value = self._kept.get(key, (0.0, None))
        return value if now < until else None
