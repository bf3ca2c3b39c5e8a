"""A simulated world for replicas: one clock, links that delay and break, disks that lose tails."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from mesh.clock import SeededDice
from mesh.errors import MeshError
from mesh.raft.engine import NO_OP
from mesh.raft.journal import Batch, Journal, Record, unpack_record
from mesh.raft.messages import Message
from mesh.raft.replica import Replica, Timing
from mesh.raft.snapshots import Incoming, Snapshots, Stored

TIMING = Timing((0.5, 1.0), 0.1)
THRESHOLD = 40


class WorldClock:
    """Virtual time."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing waits in a replica")


class World:
    """Some replicas and everything around them. Every rule is checked as things happen."""

    def __init__(self, seed: int, count: int, folder: Path) -> None:
        self.clock, self.dice = WorldClock(), SeededDice(seed)
        self.names = [f"n{number}" for number in range(count)]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self.up: dict[tuple[str, str], int] = {}
        self._link = 0
        self._last: dict[tuple[str, str], float] = {}
        self.leaders: dict[int, str] = {}
        self.applied: dict[int, bytes] = {}
        self.acknowledged: dict[int, bytes] = {}
        self.reads = 0
        self.hosts = {name: HostInWorld(self, name, folder / name) for name in self.names}
        for name in self.names:
            self.hosts[name].start()

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.clock.now + seconds, self._number, action))

    def run(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self._events and self._events[0][0] <= end:
            self.clock.now, _, action = heapq.heappop(self._events)
            action()
        self.clock.now = end

    def links(self) -> Iterator[tuple[str, str]]:
        return ((a, b) for a in self.names for b in self.names if a != b)

    def connect(self, link: tuple[str, str]) -> None:
        caller, called = (self.hosts[name] for name in link)
        if link in self.up or not (caller.alive and called.alive):
            return
        self._link += 1
        self.up[link] = self._link
        caller.replica.connected(link[1])

    def cut(self, link: tuple[str, str]) -> None:
        if self.up.pop(link, None) is not None and self.hosts[link[0]].alive:
            self.hosts[link[0]].replica.disconnected(link[1])

    def carry(self, link: tuple[str, str], message: Message) -> None:
        number = self.up.get(link)
        if number is None:
            return
        slow = self.dice.below(20) == 0
        arrival = self.clock.now + self.dice.uniform(0.0002, 0.05 if slow else 0.004)
        arrival = self._last[link] = max(arrival, self._last.get(link, 0.0))
        called = self.hosts[link[1]]

        def arrive() -> None:
            if self.up.get(link) != number:
                return
            if called.paused:
                self.after(called.wakes - self.clock.now, arrive)
            else:
                called.receive(link[0], message)

        self.after(arrival - self.clock.now, arrive)

    def heal(self) -> None:
        for host in self.hosts.values():
            if not host.alive:
                host.start()
        for link in self.links():
            self.connect(link)

    def disturb(self) -> None:
        """One random fault, or the end of some."""
        name = self.somebody()
        chance = self.dice.below(12)
        if chance >= 10:
            self.hosts[name].wakes = self.clock.now + self.dice.uniform(0.1, 1.5)
        elif chance < 2:
            self.hosts[name].crash()
        elif chance < 3:
            for host in self.hosts.values():
                host.crash()
        elif chance < 5:
            for link in self.links():
                if name in link:
                    self.cut(link)
        elif chance < 7:
            a, b = self.dice.choice(list(self.links())) if len(self.names) > 1 else (name, name)
            self.cut((a, b))
            if chance == 6:
                self.cut((b, a))
        else:
            self.heal()

    def somebody(self) -> str:
        """Half the time who leads, as far as known, else anyone."""
        if self.leaders and self.dice.below(2):
            return self.leaders[max(self.leaders)]
        return self.dice.choice(self.names)

    def check_leases(self) -> None:
        newest = max(self.acknowledged, default=0)
        leased = [host for host in self.hosts.values() if host.alive and host.leased]
        assert len(leased) <= 1, "two leases at once"
        for host in leased:
            assert host.replica.engine.applied >= newest, "a lease on an old state"

    def check_leader(self, name: str, term: int) -> None:
        assert self.leaders.setdefault(term, name) == name, f"two leaders in term {term}"

    def check_applied(self, index: int, command: bytes) -> None:
        assert self.applied.setdefault(index, command) == command, f"two commands at {index}"

    def write(self, number: int) -> None:
        host = self.hosts[self.somebody()]
        if not host.alive or host.paused:
            return
        command = b"%d" % number

        def done(index: int, _result: object, error: MeshError | None) -> None:
            if error is None:
                self.acknowledged[index] = command

        host.replica.propose(command, done)
        host.pump()

    def read(self) -> None:
        host = self.hosts[self.dice.choice(self.names)]
        if not host.alive or host.paused:
            return
        newest = max(self.acknowledged, default=0)

        def done(error: MeshError | None) -> None:
            if error is None:
                self.reads += 1
                assert host.replica.engine.applied >= newest, "a stale read"

        host.replica.barrier(done)
        host.pump()


class WatchedJournal(Journal):
    """Knows what its host holds for committed, and that this is never deleted."""

    commit: Callable[[], int] = staticmethod(lambda: 0)

    def delete_from(self, index: int) -> None:
        assert index > self.commit(), f"entry {index} is committed and was deleted"
        super().delete_from(index)


class HostInWorld:
    """One server: a replica and its disk, which keeps only what was synced when it crashes."""

    def __init__(self, world: World, name: str, folder: Path) -> None:
        self._world, self._name, self._folder = world, name, folder
        folder.mkdir()
        self._disk: list[bytes] = []
        self._storing: Batch | None = None
        self._life = 0
        self.alive = False
        self.wakes = 0.0  # Until then it is paused, as by SIGSTOP.
        self.state: list[str] = []

    @property
    def paused(self) -> bool:
        return self.alive and self._world.clock.now < self.wakes

    @property
    def leased(self) -> bool:
        leading = self.replica.leading
        return leading is not None and leading.leased()

    def start(self) -> None:
        world = self._world
        self._life += 1
        self.alive, self._storing, self._compacting = True, None, False
        journal, snapshots = WatchedJournal(), Snapshots(str(self._folder))
        snapshot = snapshots.open()
        journal.replay(self._records())
        self.state = []
        if snapshot is not None:
            self._restore(snapshot)
            if journal.term_at(snapshot.index) != snapshot.term:
                journal.clear(snapshot.index, snapshot.term, NO_OP)
        chance = (world.clock, world.dice)
        voters = (self._name, world.names)
        self.replica = Replica(voters, (journal, snapshots), self, TIMING, chance)
        journal.commit = lambda: self.replica.engine.commit
        self._disk.extend(journal.take().records)
        journal.stored()
        self._timer(self._life)
        for link in world.links():
            if self._name in link and world.hosts:
                world.connect(link)

    def _records(self) -> Iterator[Record]:
        return (unpack_record(record, 0)[0] for record in self._disk)

    def crash(self) -> None:
        if not self.alive:
            return
        for link in self._world.links():
            if self._name in link:
                self._world.cut(link)
        self.alive, self.wakes = False, 0.0
        if self._storing is not None:
            kept = self._world.dice.below(len(self._storing.records) + 1)
            self._disk.extend(self._storing.records[:kept])
        self.replica.end()

    def _timer(self, life: int) -> None:
        if self.alive and life == self._life:
            if not self.paused:
                self.pump()
            self._world.after(TIMING.heartbeat / 2, lambda: self._timer(life))

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        life = self._life

        def act() -> None:
            if not (self.alive and self._life == life):
                return
            if self.paused:
                self._world.after(self.wakes - self._world.clock.now, act)
            else:
                action()

        self._world.after(seconds, act)

    def pump(self) -> None:
        self.replica.step()
        if self.replica.engine.leads:
            self._world.check_leader(self._name, self.replica.engine.term)
        if (batch := self.replica.begin_store()) is not None:
            self._storing = batch
            stall = self._world.dice.below(50) == 0
            seconds = self._world.dice.uniform(0.0002, 0.5 if stall else 0.01)
            self.later(seconds, self._stored)
        self._compact()
        self._world.check_leases()

    def _stored(self) -> None:
        assert self._storing is not None
        self._disk.extend(self._storing.records)
        self._storing = None
        self.replica.stored()
        self.pump()

    def _compact(self) -> None:
        index, latest = self.replica.engine.applied, self.replica.snapshots.latest
        if self._compacting or index - (latest.index if latest else 1) < THRESHOLD:
            return
        self._compacting = True
        term = self.replica.journal.term_at(index)
        assert term is not None
        pieces = [json.dumps(self.state).encode()]

        def saved() -> None:
            self._compacting = False
            self.replica.snapshots.save(index, term, pieces)
            self.replica.compacted(index - THRESHOLD // 4)

        self.later(self._world.dice.uniform(0.001, 0.05), saved)

    def receive(self, peer: str, message: Message) -> None:
        self.replica.receive(peer, message)
        self.pump()

    def send(self, peer: str, message: Message) -> None:
        self._world.carry((self._name, peer), message)

    def apply(self, index: int, command: bytes) -> object:
        self._world.check_applied(index, command)
        self.state.append(command.decode())
        return index

    def install(self, incoming: Incoming) -> None:
        def arrived() -> None:
            snapshots = self.replica.snapshots
            snapshot = snapshots.adopt(snapshots.check(incoming))
            self.replica.installed(snapshot, lambda: self._restore(snapshot))
            self.pump()

        self.later(self._world.dice.uniform(0.001, 0.02), arrived)

    def _restore(self, snapshot: Stored) -> None:
        self.state = json.loads(b"".join(snapshot.pieces()))
