"""The board: a page of memory on which the main process shows its workers what still holds.

Whatever a worker keeps has a slot; the main process raises the slot's version within the commit
that changes the answer, which is before anybody is told of the commit. So a worker that finds the
version it knows gives no answer older than one that somebody has seen, and nothing needs to be sent
to it, which it might read late or never. Numbers of eight bytes are written and read whole.
"""

from __future__ import annotations

import mmap
import os

SLOTS = 8192
_ALIVE, _LEASE, _TIMES = 0, 1, 2


class Board:
    """Made by the main process, opened by the others by its file descriptor."""

    def __init__(self, fd: int | None = None) -> None:
        size = 8 * (_TIMES + SLOTS)
        if fd is None:
            fd = os.memfd_create("mesh-board")
            os.ftruncate(fd, size)
        self.fd = fd
        memory = memoryview(mmap.mmap(fd, size))
        self._times = memory[: 8 * _TIMES].cast("d")
        self._versions = memory[8 * _TIMES :].cast("Q")

    def version(self, slot: int) -> int:
        """What is kept under this slot holds while this is the same."""
        return self._versions[slot]

    def bump(self, slot: int) -> None:
        """What is kept under this slot holds no longer."""
        self._versions[slot] += 1

    def bump_all(self) -> None:
        """Nothing that is kept holds any longer."""
        for slot in range(SLOTS):
            self._versions[slot] += 1

    @property
    def alive_until(self) -> float:
        """Until when the main process is surely at work, by the monotonic clock."""
        return self._times[_ALIVE]

    @alive_until.setter
    def alive_until(self, when: float) -> None:
        self._times[_ALIVE] = when

    @property
    def leased_until(self) -> float:
        """Until when it surely leads alone, by the monotonic clock."""
        return self._times[_LEASE]

    @leased_until.setter
    def leased_until(self, when: float) -> None:
        self._times[_LEASE] = when
