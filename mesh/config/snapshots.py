"""Options for snapshots that servers take by themselves, and what is wrong with their values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from mesh.config.sections import Seconds

if TYPE_CHECKING:
    from mesh.config.schema import Config


class Snapshots(msgspec.Struct, frozen=True, kw_only=True):
    """Snapshots that the leader takes by itself; see docs/snapshots.md."""

    interval: Seconds = 0.0
    """Time from one to the next; 0 for none."""
    directory: str = ""
    """Where they are kept, on whichever server leads; best on another disk than data_dir."""
    retain: int = 24
    """How many are kept; the oldest goes first."""
    verify: bool = True
    """Restore each into a scratch store, in a process of its own, and compare."""


def problems(config: Config) -> Iterator[tuple[str, str]]:
    """What is wrong, by dotted key."""
    knobs = config.snapshots
    if knobs.interval < 0 or 0 < knobs.interval < 1:
        yield "snapshots.interval", "expected 0, or a duration of 1s or more"
    if not 1 <= knobs.retain <= 10_000:
        yield "snapshots.retain", f"expected 1 to 10000, got {knobs.retain}"
    if knobs.interval and not knobs.directory.startswith("/"):
        yield "snapshots.directory", "expected the absolute path of a directory for the snapshots"
