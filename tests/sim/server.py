"""A simulated server: a replica of production on a simulated disk, driven as `driver` drives it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import msgspec

from mesh.clock import SeededDice
from mesh.errors import Invalid
from mesh.raft.disk import Room, is_full
from mesh.raft.figures import SnapshotFigures
from mesh.raft.journal import Segments
from mesh.raft.messages import Chunk, Message
from mesh.raft.recovery import recover
from mesh.raft.replica import Replica, Timing
from mesh.raft.snapshots import Incoming, Snapshots, Stored
from tests.sim.checks import State, Violation, WatchedJournal
from tests.sim.clock import HostClock
from tests.sim.disk import PowerCut

if TYPE_CHECKING:
    from tests.sim.world import World

TIMING = Timing((0.5, 1.0), 0.1)
FLOOR = 10_000  # Bytes of free space, where a disk fills up; some snapshots' worth.
PLENTY = 1 << 30
Job = tuple[str, Callable[[], object], Callable[[], None]]


class Lane:
    """A worker thread: jobs one after the other, each done at one moment."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._jobs: deque[Job] = deque()

    def submit(self, label: str, job: Callable[[], object], done: Callable[[], None]) -> None:
        self._jobs.append((label, job, done))
        self._server.submitted(label)
        if len(self._jobs) == 1:
            self._begin()

    def take_all(self) -> list[Callable[[], object]]:
        jobs = [job for _, job, _ in self._jobs]
        self._jobs.clear()
        return jobs

    def _begin(self) -> None:
        self._server.later(self._server.disk_seconds(), self._end, self._jobs[0][0])

    def _end(self) -> None:
        _, job, done = self._jobs[0]
        try:
            job()
        except OSError:  # Never retried: the process ends.
            self._jobs.clear()
            self._server.disk_failed()
            return
        self._jobs.popleft()
        if self._jobs:
            self._begin()
        done()


class Server:
    """What `Driver` is in production: replica, disk lanes, timer and machine."""

    def __init__(self, world: World, name: str, clock: HostClock) -> None:
        self._world, self.name, self.clock = world, name, clock
        self._dice = SeededDice(world.dice.below(1 << 30))
        self.disk = world.disks[name]
        self.room = Room()  # With a floor of 0: always, until it is filled.
        self._life = 0
        self._fresh = not self.disk.names
        self.alive = False
        self.wakes = 0.0  # Until then it is paused, as by SIGSTOP.
        self.slow_until = 0.0  # Until then each job of the disk takes half a second and more.
        self.steps_of_end = 0  # What the last job did before the end.
        self.interrupt: tuple[str, int, bool] | None = None  # See `submitted`.
        self.damages = 0  # So many of the next snapshot pieces leave with a wrong byte.
        self.damaged_arrivals = self.failed_disks = self.saves = 0
        self.installs_before = 0
        self.journal = WatchedJournal(world.checks)
        self.state = State()
        self.replica: Replica

    @property
    def paused(self) -> bool:
        return self.alive and self._world.timeline.now < self.wakes

    @property
    def taking_part(self) -> bool:
        return self.alive and not self.paused

    @property
    def voters(self) -> Collection[str]:
        return self._world.names

    @property
    def leased(self) -> bool:
        leading = self.replica.leading
        return leading is not None and leading.leased()

    @property
    def installs(self) -> int:
        return self.installs_before + (self.replica.installs if self._life else 0)

    def disk_seconds(self) -> float:
        if self._world.timeline.now < self.slow_until:
            return self._dice.uniform(0.5, 1.5)
        return self._dice.uniform(0.0002, 0.004)

    # Life.

    def start(self) -> None:
        """Recover from the disk and take part."""
        world, checks = self._world, self._world.checks
        self._begin_life()
        self._segments = Segments(f"/{self.name}/journal", world.setting.segment_bytes)
        snapshots = Snapshots(f"/{self.name}/snapshots")
        before, self.journal = self.journal, WatchedJournal(checks)
        journal = self.journal
        disk = (self._segments, snapshots)
        try:
            snapshot = recover(
                f"/{self.name}", journal, disk, world.epoch, fresh=self._fresh, carried=False
            )
        except Invalid as error:
            raise Violation("refused to start", error.message) from error
        self.state = State()
        if snapshot:
            self._restore(State.unpack(b"".join(snapshot.pieces())))
        chance = (self.clock, SeededDice(self._dice.below(1 << 30)))
        self.replica = Replica(
            (self.name, world.names), (journal, snapshots), self, TIMING, chance
        )  # fmt: skip
        self.replica.room = self.room
        journal.replica = self.replica
        checks.started(self, before)
        if journal.dirty:
            self._segments.store(journal.take())
            journal.stored()
        if self._fresh or len(world.names) == 1:
            self.replica.elections.hurry()
        self._fresh = False
        self._timer(self._life)
        world.links.reconnect(self.name)

    def _begin_life(self) -> None:
        self.installs_before = self.installs
        self._life += 1
        self.alive, self._compacting, self._soon = True, False, False
        self._applied_bytes = 0  # Since the last snapshot.
        self.snapshot_figures = SnapshotFigures(self.clock)
        self._journal_lane, self._packer_lane = Lane(self), Lane(self)

    def kill(self, steps: int | None = None) -> None:
        """End the process as SIGKILL does, so many steps into what the disk does.

        What was written goes on to the disk; what was not synced is not lost unless by `crash`.
        """
        if self.alive:
            self._world.links.cut_all(self.name)
            self.alive, self.wakes, self.slow_until = False, 0.0, 0.0
            for lane in (self._journal_lane, self._packer_lane):
                for job in lane.take_all()[:1]:
                    self.disk.steps_left = self._dice.below(8) if steps is None else steps
                    before = self.disk.steps
                    self._try(job)
                    self.steps_of_end = self.disk.steps - before
            self.disk.steps_left, self.disk.fails = -1, None
            self.replica.end()

    def crash(self, steps: int | None = None) -> None:
        """Lose the power."""
        self.kill(steps)
        self.disk.lose_power()

    def submitted(self, label: str) -> None:
        """A disk job begins: `interrupt` names one in which to end, after how many steps of it,
        and whether the power goes too."""
        if self.interrupt and self.interrupt[0] == label:
            _, steps, power = self.interrupt
            self.interrupt = None
            end = self.crash if power else self.kill
            self._world.timeline.after(0.0, lambda: end(steps), f"{self.name} ends")

    def _try(self, job: Callable[[], object]) -> None:
        try:
            job()
        except (PowerCut, OSError, Invalid):
            return

    def disk_failed(self) -> None:
        """A job of the disk raised: the process ends, and comes back once there is space."""
        self.failed_disks += 1
        self.kill()
        seconds = self._dice.uniform(0.2, 2.0)
        self._world.timeline.after(seconds, self._again, "space")

    def _again(self) -> None:
        if not self.alive:
            self.start()

    def pause(self, seconds: float) -> None:
        """SIGSTOP for a while; whatever arrives waits."""
        if self.alive:
            self.wakes = self._world.timeline.now + seconds

    def later(self, seconds: float, action: Callable[[], None], label: str) -> None:
        """In this life, and not while paused."""
        life, timeline = self._life, self._world.timeline

        def act() -> None:
            if not (self.alive and self._life == life):
                return
            if self.paused:
                timeline.after(self.wakes - timeline.now, act, label)
            else:
                action()

        timeline.after(seconds, act, f"{self.name} {label}")

    def _timer(self, life: int) -> None:
        if self.alive and life == self._life:
            if not self.paused:
                self.pump()
            seconds = TIMING.heartbeat / 2 / self.clock.rate
            self._world.timeline.after(seconds, lambda: self._timer(life), f"{self.name} timer")

    # Steps.

    def pump(self) -> None:
        """One step of the driver."""
        self.replica.step()
        batch = self.replica.begin_store()
        if batch is not None:
            segments = self._segments
            self._journal_lane.submit("sync", lambda: segments.store(batch), self._stored)
        self._compact()
        self.look()
        if self.replica.restless and not self._soon:
            self._soon = True
            self.later(0.0002, self._pump_again, "again")

    def _pump_again(self) -> None:
        self._soon = False
        self.pump()

    def look(self) -> None:
        """Let the rules be checked."""
        everybody = self._world.servers.values()
        self._world.checks.look(self, everybody)
        self._world.checks.look_at_leases(everybody)

    def _stored(self) -> None:
        self.replica.stored()
        self.pump()

    def _compact(self) -> None:
        index = self.replica.engine.applied
        if self._compacting or not self._due(index):
            return
        snapshots, errors = self.replica.snapshots, list[OSError]()
        size = snapshots.latest.size if snapshots.latest else 0
        if not self.room.fits(size + self._applied_bytes) or self.snapshot_figures.held_back():
            return
        self.snapshot_figures.began()
        self._compacting, self._applied_bytes = True, 0
        term, pieces = self.journal.term_at(index), self.state.pack()
        assert term is not None

        def save() -> None:
            try:
                snapshots.save(index, term, pieces)
            except OSError as error:
                if not is_full(error):
                    raise
                errors.append(error)

        def done() -> None:
            self._compacting = False
            if not self.snapshot_figures.ended(errors[0] if errors else None):
                self._saved(index)

        self._packer_lane.submit("snapshot", save, done)

    def _due(self, index: int) -> bool:
        latest = self.replica.snapshots.latest
        return index - (latest.index if latest else 1) >= self._world.threshold

    def _saved(self, index: int) -> None:
        self.saves += 1
        kept = self._world.threshold // 4
        self.replica.compacted(self.journal.keep_from(index, kept, 1 << 30))
        first, segments = self.journal.first_index, self._segments
        self._journal_lane.submit("drop", lambda: segments.drop_below(first), self.pump)

    # Messages.

    def connected(self, peer: str) -> None:
        if self.alive:
            self.replica.connected(peer)

    def disconnected(self, peer: str) -> None:
        self.replica.disconnected(peer)

    def receive(self, peer: str, message: Message) -> None:
        try:
            self.replica.receive(peer, message)
        except OSError:  # The pieces of a snapshot are written at once.
            self.disk_failed()
        else:
            self.pump()

    def send(self, peer: str, message: Message) -> None:
        if isinstance(message, Chunk) and message.data and self.damages:
            self.damages -= 1
            data = bytearray(message.data)
            data[len(data) // 2] ^= 4
            message = msgspec.structs.replace(message, data=bytes(data))
        self._world.carry((self.name, peer), message)

    # The machine.

    def apply(self, index: int, command: bytes) -> object:
        self.look()
        self._applied_bytes += len(command)
        self._world.checks.apply(index, command, self.state)
        return index

    def install(self, incoming: Incoming) -> None:
        life, replica, received = self._life, self.replica, list[tuple[Stored, State]]()

        def work() -> None:  # As `Packer` does it.
            try:
                checked = replica.snapshots.check(incoming)
                state = State.unpack(b"".join(checked.pieces()))
                received.append((replica.snapshots.adopt(checked), state))
            except Invalid:
                self.damaged_arrivals += 1

        def done() -> None:
            assert life == self._life
            if received:
                stored, state = received[0]
                replica.installed(stored, lambda: self._restore(state))
            else:
                replica.not_installed()
            self.pump()

        self._packer_lane.submit("install", work, done)

    def _restore(self, state: State) -> None:
        self.state = state
        self._world.checks.look_at_state(state)
