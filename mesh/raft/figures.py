"""Figures of a server's log: how long its disk takes, how its snapshots fare, who is behind."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mesh.clock import Clock
from mesh.raft.disk import is_full
from mesh.telemetry.windows import Window

if TYPE_CHECKING:
    from mesh.raft.driver import Driver

SNAPSHOT_PAUSE_SECONDS = 60.0  # After one that found the disk full.


class SnapshotFigures:
    """How the making of snapshots fares. Times are seconds of the monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.times = Window(clock)
        self.failures = 0  # In a row, for lack of space; every other failure ends the process.
        self.reason = ""
        self._began = 0.0

    def held_back(self) -> bool:
        """Whether the last one found the disk full so recently that trying again is no use."""
        recent = self._clock.monotonic() - self._began < SNAPSHOT_PAUSE_SECONDS
        return self.failures > 0 and recent

    def began(self) -> None:
        """One is being made."""
        self._began = self._clock.monotonic()

    def ended(self, error: BaseException | None) -> bool:
        """It was made, or failed; whether it failed in a way that harms nothing but space."""
        if error is None:
            self.times.add(self._clock.monotonic() - self._began)
            self.failures, self.reason = 0, ""
            return False
        if is_full(error):
            self.failures += 1
            self.reason = f"{getattr(error, 'filename', '')}: {getattr(error, 'strerror', '')}"
            return True
        return False


class Figures:
    """What one server measures of its log, over all epochs since the start."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.syncs = Window(clock)  # Writing and syncing one batch of records.
        self.commits = Window(clock)  # From a proposal to its answer, on the leader.
        self.stalls = Window(clock)  # How late the timer came: what else held the loop up.
        self.snapshots = SnapshotFigures(clock)
        self._due: float | None = None

    def tick(self, period: float) -> None:
        """The timer came; it is due again after the period."""
        now = self._clock.monotonic()
        if self._due is not None:
            self.stalls.add(max(0.0, now - self._due))
        self._due = now + period

    def pause(self) -> None:
        """The timer stops: what follows is no stall."""
        self._due = None


def describe(driver: Driver, names: dict[str, str], clock: Clock) -> dict[str, Any]:
    """What an operator wants to see of a running epoch, names by server id."""
    replica, figures, now = driver.replica, driver.figures, clock.monotonic()
    journal, latest, leading = replica.journal, replica.snapshots.latest, replica.leading
    last, segments = journal.last_index, _sizes(driver.journal_folder)
    return {
        "log": [journal.first_index, last],
        "last_index": last,
        "durable_index": journal.durable_index,
        "sync_queue": journal.waiting,
        "sync": msgspec.to_builtins(figures.syncs.summary()),
        "stall": msgspec.to_builtins(figures.stalls.summary()),
        "commit": msgspec.to_builtins(figures.commits.summary()),
        "journal_bytes": driver.journal_bytes,
        "journal_size": sum(segments),
        "journal_segments": len(segments),
        "snapshot_index": latest.index if latest else 0,
        "snapshot_bytes": latest.size if latest else 0,
        "snapshot_age": _age(latest.path, clock) if latest else 0.0,
        "snapshot_failures": figures.snapshots.failures,
        "snapshot_error": figures.snapshots.reason,
        "followers": {
            names.get(peer, peer): {
                "match": progress.match,
                "lag": last - progress.match,
                "connected": progress.connected,
                "last_contact": now - progress.heard.sent,
                "snapshot": progress.streaming,
                "voter": leading is not None and peer in leading.peers,
            }
            for peer, progress in (leading.everybody.items() if leading else ())
        },
    }


def _sizes(folder: Path) -> list[int]:
    found = []
    for path in folder.glob("*.journal"):
        with contextlib.suppress(FileNotFoundError):  # The journal's thread drops them.
            found.append(path.stat().st_size)
    return found


def _age(path: Path, clock: Clock) -> float:
    try:
        return max(0.0, clock.wall() - path.stat().st_mtime)
    except FileNotFoundError:  # A newer one replaces it right now.
        return 0.0
