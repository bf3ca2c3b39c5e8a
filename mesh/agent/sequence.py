"""The health sequence of this node: numbers that only grow, over restarts too."""

from __future__ import annotations

import logging

import msgspec

from mesh.agent.storage import Storage
from mesh.errors import MeshError

log = logging.getLogger(__name__)

FOLDER, NAME = "sequence", "health"
BLOCK = 65_536
"""So many numbers are set aside on disk at a time."""


class _Reserved(msgspec.Struct, frozen=True):
    below: int
    """Every number given so far is smaller."""


class Sequence:
    """Gives numbers, each once.

    They begin at the milliseconds since 1970, or above all that the disk says were set aside,
    whichever is more. So a clock that was set back does no harm, and neither does a data directory
    that was lost; if both happen, the numbers in the catalog and in gossip are taken note of
    (`witness`), which moves on above them. A disk that refuses leaves the clock to rely on.
    """

    def __init__(self, storage: Storage, wall: float) -> None:
        self._storage = storage
        kept = storage.load(FOLDER, _Reserved)
        self.last: int = max([int(wall * 1000), *(one.below for one in kept)])
        """The newest number that may have been given."""
        self._below = 0

    def next(self) -> int:
        """A number above all before."""
        self.last += 1
        if self.last >= self._below:
            self._reserve()
        return self.last

    def witness(self, number: int) -> bool:
        """Take note of a number of this node found elsewhere; whether it was beyond the last."""
        beyond = number > self.last
        self.last = max(self.last, number)
        return beyond

    def _reserve(self) -> None:
        self._below = self.last + BLOCK
        try:
            self._storage.save(FOLDER, NAME, _Reserved(self._below))
        except MeshError as error:
            log.warning("the health sequence relies on the clock: %s", error)
