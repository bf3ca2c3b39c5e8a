"""A server's consensus: what the rest of mesh uses, whatever engine is behind it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from mesh.clock import Clock, Dice
from mesh.errors import Conflict, Invalid, MeshError, NoLeader, OutcomeUnknown, TooLarge
from mesh.raft.disk import Disk
from mesh.raft.driver import Driver, Options, StateMachine
from mesh.raft.epochs import VOTERS_MAX, Epoch, Epochs, Peer, cluster_id
from mesh.raft.figures import Figures, describe
from mesh.raft.guard import COMMAND_BYTES_MAX
from mesh.raft.leading import Leading
from mesh.raft.owner import check_owner, claim
from mesh.raft.transport import RAFT_BYTE

__all__ = ["RAFT_BYTE", "Node", "Options", "Peer", "StateMachine", "cluster_id"]

log = logging.getLogger(__name__)

Listener = Callable[[Peer | None], None]


class Node:
    """One server's part in the cluster's log. `on_fatal` gets what makes going on unsafe.

    A node that is not bootstrapped, or is no voter, has no leader and proposes nothing.
    """

    def __init__(
        self,
        me: Peer,
        options: Options,
        machine: StateMachine,
        clock: Clock,
        dice: Dice,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self.me, self._options, self._machine = me, options, machine
        self._clock, self._dice, self._on_fatal = clock, dice, on_fatal
        self._epochs = Epochs(options.directory)
        self._epoch: Epoch | None = None
        self._driver: Driver | None = None
        self._peers: dict[str, Peer] = {}
        self._listeners: list[Listener] = []
        self._announced = ""
        self._deadlines: deque[tuple[float, asyncio.Future[tuple[int, object]]]] = deque()
        self.disk = Disk(options.directory, options.disk_floor, clock)
        self.figures = Figures(clock)
        self.resolve: Callable[[Peer], str] = lambda peer: peer.address

    async def start(self) -> None:
        """Verify and replay what is on disk, and take part. It does not listen itself.

        Raises Invalid, with one line that names the file, when it is damaged; then nothing on
        disk was changed.
        """
        epoch = self._epochs.load()
        self.disk.poll(now=True)
        if epoch is not None:
            self._begin(epoch, fresh=False)

    async def stop(self) -> None:
        """Take no part any more. Whoever waits gets OutcomeUnknown."""
        driver, self._driver = self._driver, None
        if driver is not None:
            await driver.stop()
        self._announce()

    def bootstrap(self, peers: Sequence[Peer]) -> None:
        """Found the cluster with these voters: durable when it returns. Same voters: no effect.

        Raises Conflict when there is another epoch already, Invalid for impossible voters.
        """
        ids = sorted(peer.id for peer in peers)
        if self._epoch is not None:
            if sorted(voter.id for voter in self._epoch.voters) != ids:
                raise Conflict("this server belongs to a cluster with other voters already")
            return
        if not 1 <= len(set(ids)) == len(ids) <= VOTERS_MAX:
            raise Invalid(f"a cluster has 1 to {VOTERS_MAX} distinct voters, not {len(ids)}")
        voters = tuple(sorted(peers, key=lambda peer: peer.id))
        epoch = Epoch(cluster_id(ids), 1, voters)
        self._begin(epoch, fresh=True)

    def _begin(self, epoch: Epoch, *, fresh: bool) -> None:
        voters = {voter.id: voter for voter in epoch.voters}
        driver = None
        journal = Path(self._epochs.folder(epoch.number), "journal")
        check_owner(journal, self.me.id)
        if self.me.id in voters:
            folder, chance = self._epochs.folder(epoch.number), (self._clock, self._dice)
            driver = Driver(self.me.id, epoch, folder, self._options, self._machine, chance)
            driver.open(self._address, fresh=fresh)
            claim(journal, self.me.id)
            driver.on_step, driver.on_fatal = self._stepped, self._on_fatal
            driver.replica.room, driver.figures = self.disk.room, self.figures
        if fresh:  # After the journal: a record without a journal means that it was lost.
            self._epochs.save(epoch)
        self._epoch, self._peers, self._driver = epoch, voters, driver
        if driver is not None:
            driver.start(fresh=fresh)

    def _address(self, peer: Peer) -> str:
        return self.resolve(peer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection from another voter whose first byte, RAFT_BYTE, was read already."""
        if self._driver is None:
            writer.close()
        else:
            await self._driver.transport.serve(reader, writer)

    async def propose(self, data: bytes) -> tuple[int, object]:
        """Commit a command: its log index and what the machine returned for it here.

        Raises NoLeader (nothing was done), Busy when 16,384 proposals or 256 MiB wait already,
        TooLarge over 1.5 MiB, and OutcomeUnknown when leadership or the deadline passed meanwhile.
        """
        if len(data) > COMMAND_BYTES_MAX:
            raise TooLarge(f"a log entry of {len(data)} bytes; {COMMAND_BYTES_MAX} are allowed")
        driver, future = self._ask()
        began = self._clock.monotonic()

        def done(index: int, result: object, error: MeshError | None) -> None:
            _settle(future, (index, result), error)
            if error is None:
                self.figures.commits.add(self._clock.monotonic() - began)

        driver.replica.propose(data, done)
        driver.poke()
        return await future

    async def barrier(self) -> None:
        """Return when all that was acknowledged before the call is applied here.

        Raises NoLeader, or OutcomeUnknown when leadership or the deadline passed meanwhile.
        """
        driver, future = self._ask()
        driver.replica.barrier(lambda error: _settle(future, (0, None), error))
        driver.poke()
        await future

    def leased(self) -> bool:
        """Whether this node leads, and surely no other does at this moment."""
        leading = self._leading()
        return leading is not None and leading.leased()

    @property
    def bootstrapped(self) -> bool:
        """Whether the cluster was founded: an epoch is on disk."""
        return self._epoch is not None

    @property
    def cluster_id(self) -> str:
        """The id of the cluster; empty before `bootstrap`."""
        return self._epoch.cluster if self._epoch else ""

    @property
    def leader(self) -> Peer | None:
        """Who leads, as far as this node knows."""
        running = self._running()
        return self._peers.get(running.replica.engine.leader) if running else None

    @property
    def is_leader(self) -> bool:
        """Whether this node leads; `leased` says whether that is certain."""
        return self._leading() is not None

    @property
    def term(self) -> int:
        """The present term."""
        return self._driver.replica.engine.term if self._driver else 0

    @property
    def commit_index(self) -> int:
        """Highest log index known to be committed."""
        return self._driver.replica.engine.commit if self._driver else 0

    @property
    def applied_index(self) -> int:
        """Highest log index applied to the machine."""
        return self._driver.replica.engine.applied if self._driver else 0

    @property
    def known_commit(self) -> int:
        """Highest log index that this node or a leader it heard knows to be committed."""
        return max(self._driver.replica.heard_commit, self.commit_index) if self._driver else 0

    @property
    def voters(self) -> list[Peer]:
        """The voters of the present epoch."""
        return list(self._epoch.voters) if self._epoch else []

    @property
    def last_contact(self) -> float:
        """Seconds since the leader was heard; 0 on the leader, infinite if never."""
        if self._driver is None:
            return float("inf")
        if self.is_leader:
            return 0.0
        return self._clock.monotonic() - self._driver.replica.elections.patience.heard

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Hear of every change of leader, in the loop. Returns how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def status(self) -> dict[str, object]:
        """What an operator wants to see."""
        leader, driver = self.leader, self._driver
        status: dict[str, object] = {
            "cluster": self.cluster_id,
            "epoch": self._epoch.number if self._epoch else 0,
            "voters": [voter.name for voter in self.voters],
            "leader": leader.name if leader else "",
            "term": self.term,
            "commit_index": self.commit_index,
            "applied_index": self.applied_index,
            "last_contact": self.last_contact,
            "leased": self.leased(),
            "disk_free": self.disk.space.free,
            "disk_floor": self.disk.room.floor,
            "disk_low": self.disk.room.low,
        }
        if driver is not None:
            names = {peer.id: peer.name for peer in self.voters}
            status.update(describe(driver, names, self._clock))
            status["connected"] = [self._peers[peer].name for peer in driver.transport.connected()]
        return status

    @property
    def counters(self) -> dict[str, int]:
        """Counts since the start."""
        driver = self._driver
        if driver is None:
            return {}
        own = {
            "elections_started": driver.replica.elections.started,
            "snapshots_installed": driver.replica.installs,
            "journal_bytes": driver.journal_bytes,
        }
        return {**driver.counters, **driver.transport.counters, **own}

    def _running(self) -> Driver | None:
        return self._driver if self._driver is not None and not self._driver.ended else None

    def _leading(self) -> Leading | None:
        running = self._running()
        return running.replica.leading if running else None

    def _ask(self) -> tuple[Driver, asyncio.Future[tuple[int, object]]]:
        driver = self._running()
        if driver is None:
            raise NoLeader("this server takes no part in consensus")
        future: asyncio.Future[tuple[int, object]] = asyncio.get_running_loop().create_future()
        deadline = self._clock.monotonic() + self._options.answer_seconds
        self._deadlines.append((deadline, future))
        return driver, future

    def _stepped(self) -> None:
        self.disk.poll()
        now = self._clock.monotonic()
        deadlines = self._deadlines
        while deadlines and (deadlines[0][1].done() or deadlines[0][0] <= now):
            _, future = deadlines.popleft()
            _settle(future, (0, None), OutcomeUnknown("no majority answered in time"))
        self._announce()

    def _announce(self) -> None:
        leader = self.leader
        name = leader.id if leader else ""
        if name != self._announced:
            self._announced = name
            log.info("leader is %s, term %d", leader.name if leader else "unknown", self.term)
            for listener in list(self._listeners):
                listener(leader)


def _settle(
    future: asyncio.Future[tuple[int, object]],
    answer: tuple[int, object],
    error: MeshError | None,
) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(answer)
    else:
        future.set_exception(error)
