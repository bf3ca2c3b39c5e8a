"""Runs one epoch: disk threads, timer, connections and the machine around a replica."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from mesh.clock import Clock, Dice
from mesh.errors import Invalid
from mesh.raft.epochs import Place
from mesh.raft.figures import Figures
from mesh.raft.journal import SEGMENT_BYTES, Journal, Segments
from mesh.raft.messages import Message
from mesh.raft.packer import Packer, Prepared, StateMachine, restore
from mesh.raft.past import Past
from mesh.raft.proposals import Done
from mesh.raft.recovery import recover
from mesh.raft.replica import Replica, Start, Timing
from mesh.raft.snapshots import Incoming, Snapshots, Stored
from mesh.raft.transport import Transport, Wiring
from mesh.raft.worker import Worker
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

ENTRIES_KEPT = 8  # Times the snapshot threshold: never more of the log stays for whatever reason.


class Options(msgspec.Struct, frozen=True):
    """How a node runs. Times are in seconds, `snapshot_threshold` is in log entries.

    A snapshot is made after `snapshot_threshold` entries. When they are less than a quarter of the
    last snapshot, or `snapshot_seconds` have not gone by since it, that would write the state over
    and over, so it waits, but not for more than 8 times as many. One is also made after
    `snapshot_bytes` of commands, or after as many as the last snapshot had if that is more: the log
    is held in memory.
    """

    directory: str
    election_seconds: tuple[float, float] = (0.5, 1.0)
    heartbeat_seconds: float = 0.1
    snapshot_threshold: int = 16384
    snapshot_bytes: int = 128 << 20
    snapshot_seconds: float = 0.0
    answer_seconds: float = 10.0  # A proposal or barrier without an answer is unknown after this.
    segment_bytes: int = SEGMENT_BYTES
    disk_floor: int | None = None  # Bytes of free space below which no writes are taken, see disk.


class Driver:
    """One epoch in operation, from `open` to `stop`. All methods belong to the event loop."""

    def __init__(
        self,
        me: str,
        place: Place,
        folder: str,
        options: Options,
        machine: StateMachine,
        chance: tuple[Clock, Dice],
    ) -> None:
        self.place, self.me, self._folder = place, me, folder
        self._options, self._machine, self._chance = options, machine, chance
        self._clock = chance[0]
        self._journal = Journal()
        self._segments = Segments(str(Path(folder, "journal")), options.segment_bytes)
        self._snapshots = Snapshots(str(Path(folder, "snapshots")))
        self._disk = Worker("raft-journal")
        self._packer = Packer(self._snapshots, machine)
        self._scheduled = self._compacting = self.ended = False
        self._applied_bytes = 0  # Since the last snapshot.
        self._compacted_at = -math.inf
        self.figures = Figures(self._clock)
        self.journal_folder = Path(folder, "journal")
        self._base = 1  # The index at which this run of the epoch found or got the machine.
        self.on_step: Callable[[], None] = _nothing
        self.on_snapshot: Callable[[], None] = _nothing
        self.on_fatal: Callable[[BaseException], None] = _ignore
        self.counters = dict.fromkeys(("syncs", "snapshots_saved", "steps"), 0)

    def open(self, wiring: Wiring, past: Past, *, fresh: bool, carried: bool = False) -> None:
        """Read the disk and restore the machine. Raises Invalid, naming the file, on damage.

        `fresh` says that this epoch has no past on this node: then there must be no log yet.
        `carried` says that the machine holds the state the epoch starts from; without it a fresh
        server gets that from the others.
        """
        epoch = self.place.epoch
        stored = (self._segments, self._snapshots)
        snapshot = recover(self._folder, self._journal, stored, epoch, fresh=fresh, carried=carried)
        if snapshot is not None:
            restore(self._machine, snapshot)
            self._base = snapshot.index
        elif epoch.start_index and self._journal.term_at(epoch.start_index) is not None:
            if not carried:
                past.restore(epoch, self._machine)
            self._base = epoch.start_index
        timing = Timing(self._options.election_seconds, self._options.heartbeat_seconds)
        voters = (self.me, epoch.voter_ids)
        disk = (self._journal, self._snapshots)
        start = Start(self._base, epoch.start_index, self.place.observes)
        self.replica = Replica(voters, disk, self, timing, self._chance, start)
        self.transport = Transport(self.me, self.place, self, wiring, self._chance)
        self._store_now()

    def start(self, *, fresh: bool, first: bool = False) -> None:
        """Take part. Nobody led a `fresh` epoch yet; who goes `first` asks for votes at once."""
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(self._fail)
        if fresh or len(self.place.epoch.voters) == 1:
            self.replica.elections.hurry(first=first)
        self.transport.start()
        self._tasks.start(self._tick(), name="raft timer", fatal=True)
        self.poke()

    async def stop(self) -> None:
        """Leave everything as a crash would, but with all files closed and nobody waiting."""
        self.ended = True
        await self._tasks.stop()
        await self.transport.stop()
        self.replica.end()
        for end in (self._disk.stop, self._packer.stop):
            await self._loop.run_in_executor(None, end)
        self._segments.close()

    @property
    def journal_bytes(self) -> int:
        """Bytes written to the journal since the start."""
        return self._segments.bytes_stored

    def poke(self) -> None:
        """Run a step soon; many inputs before it share it."""
        if not self._scheduled and not self.ended:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def propose(self, command: bytes, done: Done) -> None:
        """Put a command into the log by a step soon: the one after the present store, if any."""
        self.replica.propose(command, done)
        if not self.replica.storing:
            self.poke()

    # What the transport tells.

    def connected(self, peer: str) -> None:
        """A connection to this voter is there."""
        self.replica.connected(peer)
        self.poke()

    def disconnected(self, peer: str) -> None:
        """The connection to this voter is gone."""
        self.replica.disconnected(peer)
        self.poke()

    def received(self, peer: str, message: Message) -> None:
        """A message came. Raises Invalid when the connection should be closed."""
        if self.ended:
            return
        try:
            self.replica.receive(peer, message)
        except Invalid:
            raise
        except OSError as error:  # A snapshot on its way in.
            self._give_up(error)
        except Exception as error:
            log.exception("raft cannot go on")
            self._fail(error)
        self.poke()

    # What the replica asks for.

    def send(self, peer: str, message: Message) -> None:
        """Send a message."""
        self.transport.send(peer, message)

    def apply(self, index: int, command: bytes) -> object:
        """Apply a command."""
        self._applied_bytes += len(command)
        return self._machine.apply(index, command)

    def install(self, incoming: Incoming) -> None:
        """Verify a snapshot in a thread, then load it."""
        work = asyncio.wrap_future(self._packer.receive(incoming))
        work.add_done_callback(self._received_snapshot)

    # Steps.

    async def _tick(self) -> None:
        period = self._options.heartbeat_seconds / 2
        self.figures.pause()
        while True:
            self.figures.tick(period)
            await self._clock.sleep(period)
            self.poke()

    def _run(self) -> None:
        self._scheduled = False
        if self.ended:
            return
        self.counters["steps"] += 1
        try:
            self.replica.step()
            batch = self.replica.begin_store()
            self._compact()
            self.on_step()
            if self.replica.restless:
                self.poke()
        except Exception as error:
            log.exception("raft cannot go on")
            self._fail(error)
            return
        if batch is not None:
            store = partial(self.figures.syncs.timed, self._segments.store, batch)
            self._disk.do(store, self._stored)

    def _stored(self, error: BaseException | None) -> None:
        if self._went_wrong(error):
            return
        self.counters["syncs"] += 1
        self.replica.stored()
        self._run()

    def _compact(self) -> None:
        index, latest = self.replica.engine.applied, self._snapshots.latest
        since, size = (latest.index, latest.size) if latest else (1, 0)
        first = latest is None and self._base > 1  # Others may need it, and the past can go then.
        if self._compacting or not (first or self._much(index - since, size)):
            return
        room = self.replica.room.fits(size + self._applied_bytes)
        if not room or self.figures.snapshots.held_back():
            return
        self.figures.snapshots.began()
        self._compacting, self._applied_bytes = True, 0
        self._compacted_at = self._clock.monotonic()
        term = self._journal.term_at(index)
        assert term is not None
        work = asyncio.wrap_future(self._packer.save(index, term))
        work.add_done_callback(partial(self._saved, index))

    def _much(self, entries: int, snapshot_size: int) -> bool:
        """Whether so many entries since the last snapshot are worth another."""
        threshold, size = self._options.snapshot_threshold, self._applied_bytes
        if entries < threshold:
            return size >= max(self._options.snapshot_bytes, snapshot_size)
        if entries >= ENTRIES_KEPT * threshold:
            return True
        waited = self._clock.monotonic() - self._compacted_at
        return size >= snapshot_size // 4 and waited >= self._options.snapshot_seconds

    def _saved(self, index: int, work: asyncio.Future[Stored]) -> None:
        self._compacting = False
        if not work.cancelled() and self.figures.snapshots.ended(work.exception()):
            log.error("no snapshot was made: %s", self.figures.snapshots.reason)
            return
        if self._failed(work):
            return
        self.counters["snapshots_saved"] += 1
        self.on_snapshot()
        self.replica.compacted(self._keep_from(index))
        self._drop_segments()
        self.poke()

    def _keep_from(self, index: int) -> int:
        """The first entry to keep, after a snapshot of the state at this index."""
        journal, options = self._journal, self._options
        # A quarter stays, so that a voter slightly behind needs no snapshot.
        entries, size = options.snapshot_threshold // 4, options.snapshot_bytes // 4
        first = journal.keep_from(index, entries, size)
        leading = self.replica.leading
        if leading is None or (needed := leading.needed()) >= first:
            return first
        # And what those need who follow from further behind, or load a snapshot just now: else
        # they would need the next one after it, and so on for as long as there is load.
        most = ENTRIES_KEPT * options.snapshot_threshold
        return max(needed, journal.keep_from(index, most, options.snapshot_bytes))

    def _drop_segments(self) -> None:
        drop = partial(self._segments.drop_below, self._journal.first_index)
        self._disk.do(drop, self._went_wrong)

    def _received_snapshot(self, work: asyncio.Future[tuple[Stored, Prepared]]) -> None:
        if not work.cancelled() and isinstance(error := work.exception(), Invalid):
            log.error("a snapshot arrived damaged: %s", error)
            self.replica.not_installed()
            return
        if self._failed(work):
            return
        snapshot, prepared = work.result()
        try:
            self.replica.installed(snapshot, prepared.install)
        except Exception as error:
            log.exception("raft cannot go on")
            self._fail(error)
            return
        asyncio.wrap_future(self._packer.discard(prepared)).add_done_callback(self._failed)
        self.on_snapshot()
        self.poke()

    def _failed(self, work: asyncio.Future[Any]) -> bool:
        if work.cancelled():
            return True
        return self._went_wrong(work.exception())

    def _went_wrong(self, error: BaseException | None) -> bool:
        """Whether there is nothing to go on with, for this error or because it is over anyway."""
        if error is not None and not self.ended:
            self._give_up(error)
        return error is not None or self.ended

    def _give_up(self, error: BaseException) -> None:
        # What the disk refuses is told by its error; a traceback would only hide that.
        log.error("raft cannot go on", exc_info=None if isinstance(error, OSError) else error)
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self.ended:
            self.ended = True
            self.replica.end()
            self.on_fatal(error)

    # The disk at the start.

    def _store_now(self) -> None:
        if self._journal.dirty:
            self._segments.store(self._journal.take())
            self._journal.stored()


def _nothing() -> None:
    """Do nothing."""


def _ignore(_error: BaseException) -> None:
    """Do nothing about it."""
