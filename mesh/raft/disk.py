"""Free space: below a floor a server takes no new commands; errors of the disk name their file."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mesh.clock import Clock
from mesh.errors import DiskFull

if TYPE_CHECKING:
    from mesh.raft.journal import Journal

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
FLOOR_BYTES_MAX = 256 << 20  # The default floor is this, or a hundredth of a smaller disk.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_COMMAND = 0  # First byte of an entry that is a command; all others are small and rare.


class Space(NamedTuple):
    """Bytes of a filesystem: free for this process, and in all."""

    free: int
    total: int


def measure(folder: str) -> Space:
    """The space of the filesystem that holds the folder. Raises OSError."""
    found = os.statvfs(folder)
    return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def floor_bytes(wanted: int | None, total: int) -> int:
    """The floor in bytes: what was asked for, else 256 MiB or 1 % of the disk if that is less."""
    return min(FLOOR_BYTES_MAX, total // 100) if wanted is None else wanted


class Room:
    """Whether there is room for new commands, without I/O. A floor of 0 means: always.

    `low` begins below the floor and ends a tenth above it, so that it does not flap there. What
    keeps the cluster together (votes, terms, no-ops, stop-signs) is small and always taken.
    """

    def __init__(self) -> None:
        self.floor = 0
        self.free = 0
        self.low = False
        self.look: Callable[[], None] = lambda: None
        """Measures anew; set by who can."""
        self._told_in = 0

    def observe(self, free: int, floor: int) -> bool:
        """Take a measurement; whether `low` changed."""
        before, self.free, self.floor = self.low, free, floor
        self.low = free < (floor + floor // 10 if before else floor)
        return self.low != before

    @property
    def reason(self) -> str:
        """Why no writes are taken, for whoever wanted one."""
        return (
            f"this server's disk has {self.free >> 20} MiB left, below raft_disk_floor "
            f"({self.floor >> 20} MiB); free space or lower the floor"
        )

    def refusal(self) -> DiskFull:
        """What a proposal is refused with while `low`."""
        return DiskFull(self.reason)

    def fits(self, size: int) -> bool:
        """Whether so many bytes of a snapshot may be written: a quarter of the floor must stay.

        Below the floor too: a snapshot is what lets go of the journal.
        """
        self.look()
        return not self.floor or self.free - size >= self.floor // 4

    def admit(
        self, journal: Journal, previous: int, entries: Sequence[tuple[int, bytes]]
    ) -> Sequence[tuple[int, bytes]]:
        """The entries after `previous` that a follower may take: up to the first new command."""
        if not self.low:
            return entries
        for place, (term, command) in enumerate(entries):
            held = journal.term_at(previous + 1 + place) == term
            below = previous + 1 + place < journal.first_index
            if command[0] == _COMMAND and not (held or below):
                return entries[:place]
        return entries

    def silent(self, term: int) -> bool:
        """Whether to keep from a leader that its entries do not fit.

        Told so it would send them all again, and again in vain; once in a term it learns what is
        here. With room again the next message tells it.
        """
        if not self.low:
            return False
        told, self._told_in = self._told_in == term, term
        return told


class Disk:
    """Watches the space of a folder; `poll` as often as you like, it looks once a second."""

    def __init__(
        self,
        folder: str,
        floor: int | None,
        clock: Clock,
        look: Callable[[str], Space] = measure,
    ) -> None:
        self._folder, self._clock, self._look = folder, clock, look
        self._wanted = floor
        self.room = Room()
        self.room.look = lambda: self.poll(now=True)
        self.space = Space(0, 0)
        self._next = float("-inf")

    def set_floor(self, floor: int | None) -> None:
        """Take over another floor, at once."""
        self._wanted = floor
        self.poll(now=True)

    def poll(self, *, now: bool = False) -> None:
        """Look if it is time, or `now`."""
        if not now and self._clock.monotonic() < self._next:
            return
        self._next = self._clock.monotonic() + POLL_SECONDS
        try:
            self.space = self._look(self._folder)
        except OSError as error:
            log.warning("%s: free space is not known: %s", self._folder, error.strerror)
            return
        if not self.room.observe(self.space.free, floor_bytes(self._wanted, self.space.total)):
            return
        if self.room.low:
            log.error("no writes are taken: %s", self.room.reason)
        else:
            log.info("writes are taken again: %d MiB of disk are free", self.space.free >> 20)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError that names no file this one."""
    try:
        yield
    except OSError as error:
        name(error, path)
        raise


def name(error: OSError, path: Path) -> None:
    """Have an error that names no file name this one."""
    if error.filename is None:
        error.filename = str(path)


@contextmanager
def discarding(path: Path) -> Iterator[None]:
    """Name the file and remove what there is of it when writing it fails."""
    try:
        with naming(path):
            yield
    except Exception:
        with suppress(OSError):  # What matters is why it failed.
            path.unlink()
        raise


def is_full(error: BaseException | None) -> bool:
    """Whether an error says that there is no space, which ends by itself when somebody makes it."""
    return isinstance(error, OSError) and error.errno in FULL
