"""Snapshots: orders that have a server take one, hand it over in portions, or list those it keeps.

A snapshot is on the server that took it. Whoever reads it names that server, and whichever server
is asked passes the order on to it, so that an agent may ask another one meanwhile.
"""

from __future__ import annotations

import msgspec

from mesh.errors import Invalid
from mesh.registry.levels import RESTORES
from mesh.registry.port import Order

PORTION_BYTES_MAX = 256 * 1024


class Opened(msgspec.Struct, frozen=True):
    """A snapshot that is being written."""

    id: str
    server: str
    """Node id of the server that has it."""
    index: int
    known_leader: bool = True
    last_contact: float = 0.0


class Portion(msgspec.Struct, frozen=True):
    """Bytes of the file. Empty and not the end: none are there yet."""

    data: bytes = b""
    end: bool = False


class Kept(msgspec.Struct, frozen=True):
    """A scheduled snapshot in a server's directory."""

    name: str
    time: str
    """In UTC (RFC 3339)."""
    size: int
    index: int
    digest: str = ""
    verified: str = ""
    """When it was restored and compared; empty if it never was."""


class Schedule(msgspec.Struct, frozen=True):
    """What a server does about scheduled snapshots."""

    server: str
    """Its name."""
    leads: bool = False
    directory: str = ""
    interval: float = 0.0
    """In seconds; 0: it takes none."""
    retain: int = 0
    last_time: str = ""
    """When it last tried."""
    problem: str = ""
    """What went wrong then."""
    kept: list[Kept] = []
    error: str = ""
    """Why the server could not be asked."""


class Open(Order[Opened], frozen=True, tag="snapshots.open"):
    """Take a snapshot, on the leader of all that was acknowledged before.

    With stale of what the server has, which other servers may be ahead of.
    """

    outcome = Opened
    needs = RESTORES
    repeatable = True
    stale: bool = False


class Read(Order[Portion], frozen=True, tag="snapshots.read"):
    """The bytes at an offset; an empty portion is answered after a while when none are there."""

    outcome = Portion
    needs = RESTORES
    repeatable = True
    id: str
    server: str
    offset: int

    def validate(self) -> None:
        """An offset is no less than 0."""
        if self.offset < 0:
            raise Invalid(f"offset: expected 0 or more, got {self.offset}")


class Close(Order[bool], frozen=True, tag="snapshots.close"):
    """Forget a snapshot; whether it was there."""

    outcome = bool
    needs = RESTORES
    repeatable = True
    id: str
    server: str


class Schedules(Order[list[Schedule]], frozen=True, tag="snapshots.schedules"):
    """What every server does about scheduled snapshots, and which ones it keeps."""

    outcome = list[Schedule]
    needs = RESTORES
    repeatable = True


class OwnSchedule(Order[Schedule], frozen=True, tag="snapshots.own-schedule"):
    """What the server that is asked does."""

    outcome = Schedule
    needs = RESTORES
    repeatable = True
