"""The recorder: keeps the snapshot file of a node, beside gossip and never in its way."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mesh.clock import Clock
from mesh.gossip.members import MemberEvent
from mesh.gossip.snapshot import SNAPSHOT_MAX_BYTES, Snapshot, Times, read

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.5
FILE_MODE = 0o600


class Recorder:
    """Writes down members as they come and go, and the clocks, every half second.

    A member that failed stays: after a power cut of everything, all have failed for all others, and
    still want to find each other.
    """

    def __init__(
        self,
        path: str,
        times: Callable[[], Times],
        counters: Counter[str],
        *,
        rejoin_after_leave: bool,
    ) -> None:
        """`times` gives the clocks as they are now."""
        self._path, self._times, self._counters = Path(path), times, counters
        self._rejoin_after_leave = rejoin_after_leave
        self._snapshot = Snapshot()
        self._changes: dict[str, str | None] = {}
        self._size = 0
        self._whole = True
        self._left = False
        self._lock = asyncio.Lock()

    async def load(self) -> Snapshot:
        """What an earlier life of this node left; nothing when there is no file, or a bad one."""
        try:
            data = await asyncio.to_thread(_read_bounded, self._path)
        except FileNotFoundError:
            data = b""
        except OSError as error:
            self._failed(error)
            data = b""
        self._snapshot = read(data, rejoin_after_leave=self._rejoin_after_leave)
        if self._snapshot.bad_lines:
            log.warning("%s: %d lines make no sense", self._path, self._snapshot.bad_lines)
        return Snapshot(dict(self._snapshot.members), self._snapshot.times)

    def note(self, event: MemberEvent) -> None:
        """A member came, went or changed; written with the next flush."""
        member = event.member
        if event.kind in {"leave", "reap"}:
            self._changes[member.name] = None
        elif event.kind in {"join", "update"}:
            address = f"[{member.address}]" if ":" in member.address else member.address
            self._changes[member.name] = f"{address}:{member.port}"

    async def run(self, clock: Clock) -> None:
        """Write what there is to write, until cancelled."""
        while True:
            await clock.sleep(FLUSH_SECONDS)
            # A thread that writes cannot be cancelled: the next flush waits for it.
            await asyncio.shield(self.flush())

    async def flush(self) -> None:
        """Write now what has changed."""
        async with self._lock:
            if self._left:
                return
            changes, self._changes = self._changes, {}
            await self._write(self._snapshot.record(changes, self._times()))

    async def leave(self) -> None:
        """This node leaves for good: another life of it finds nobody here."""
        async with self._lock:
            if not self._rejoin_after_leave:
                await self._write(self._snapshot.leave())
                self._left = True

    async def _write(self, lines: bytes) -> None:
        if not lines and not self._whole:
            return
        whole = self._whole or self._size + len(lines) > self._snapshot.bytes_max
        body = self._snapshot.compact() if whole else lines
        # What fails leaves a file of which nobody knows where it ends: then, all of it anew.
        self._whole = True
        try:
            await asyncio.to_thread(_replace if whole else _append, self._path, body)
        except OSError as error:
            self._failed(error)
            return
        self._whole = False
        self._size = len(body) + (0 if whole else self._size)

    def _failed(self, error: OSError) -> None:
        if not self._counters["snapshot_failures"]:
            log.warning("%s: %s; after a restart this node may find nobody", self._path, error)
        self._counters["snapshot_failures"] += 1


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(SNAPSHOT_MAX_BYTES + 1)
    if len(data) > SNAPSHOT_MAX_BYTES:
        raise OSError(f"more than {SNAPSHOT_MAX_BYTES} bytes")
    return data


def _append(path: Path, lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(lines)


def _replace(path: Path, body: bytes) -> None:
    fresh = path.with_name(f"{path.name}.compact")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
