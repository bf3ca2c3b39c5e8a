"""The ledger: how the latest requests ended, by their ids, so that none of them is done twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

import msgspec

from mesh.store.table import EVERY, PRIMARY, Bucket

KEPT = 10_000
"""At least so many of the latest requests are known when they come again,"""
KEPT_SECONDS = 60.0
"""and all that are younger, by the times in the log,"""
KEPT_MAX = 65_536
"""but no more than this, whatever the clocks say."""
NAME = "*requests"
"""Stands for a table's name in the buckets of the ledger."""
HORIZON: Bucket = (NAME, EVERY, "")


class Ended(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How a request ended: its packed result, or the error it was refused with."""

    value: bytes = b""
    code: str = ""
    message: str = ""
    time: float = 0.0
    """When it entered the log, by the leader's clock."""
    index: int = 0
    """Where it stands in the log; 0 when that was not kept."""
    digest: bytes = b""
    """Digest of what was asked; empty when that was not kept."""


class Ledger:
    """Bounded memory of requests, the oldest forgotten first; a function of the log alone.

    `horizon` is at least the log index of every request that was forgotten: a request that can
    only stand above it and is not known here was never done.
    """

    def __init__(self) -> None:
        self.ended: dict[str, Ended] = {}
        self.horizon = 0
        # As the dictionary is ordered, whose first key takes long to find once many were removed.
        self._order: deque[str] = deque()

    def remember(self, request: str, ended: Ended, changed: set[Bucket]) -> None:
        """Note how a request ended, and forget old ones. Adds the buckets that changed."""
        if request not in self.ended:
            self._order.append(request)
        self.ended[request] = ended
        changed.add((NAME, PRIMARY, request))
        if len(self.ended) > KEPT:
            self._forget(ended.time, changed)

    def _forget(self, now: float, changed: set[Bucket]) -> None:
        known, order = self.ended, self._order
        if len(order) != len(known):
            order = self._order = deque(known)  # They came out of a snapshot.
        # Two at most, so that no single entry pays for all that grew old meanwhile.
        for _ in range(2):
            oldest = order[0]
            old = known[oldest].time < now - KEPT_SECONDS
            if len(known) <= (KEPT if old else KEPT_MAX):
                return
            order.popleft()
            self.horizon = max(self.horizon, known.pop(oldest).index)
            changed.add((NAME, PRIMARY, oldest))
            changed.add(HORIZON)

    def changed_at(self, value: Hashable) -> int:
        """The log index of the last change to this bucket."""
        ended = self.ended.get(str(value))
        return ended.index if ended is not None else self.horizon


def bucket(request: str) -> Bucket:
    """What a read of this request depends on."""
    return (NAME, PRIMARY, request)
