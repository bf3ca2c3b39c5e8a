"""A server's consensus: what the rest of mesh uses, whatever engine is behind it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from mesh.clock import Clock, Dice
from mesh.errors import (
    Conflict,
    Invalid,
    NoLeader,
    OutcomeUnknown,
    TooLarge,
    Unreachable,
)
from mesh.raft import membership, succession
from mesh.raft.disk import Disk
from mesh.raft.driver import Driver, Options
from mesh.raft.epochs import Epoch, Epochs, Peer, Place, cluster_id, founded, succeeding
from mesh.raft.figures import Figures, describe
from mesh.raft.guard import COMMAND_BYTES_MAX
from mesh.raft.leading import Leading
from mesh.raft.membership import PeerProgress
from mesh.raft.messages import Message
from mesh.raft.owner import check_owner, claim
from mesh.raft.packer import StateMachine
from mesh.raft.past import Past
from mesh.raft.replica import CHANGING
from mesh.raft.transport import RAFT_BYTE, Streams, Transport, dial
from mesh.raft.waiting import Told, Waiting, settle
from mesh.tasks import Tasks

__all__ = ["RAFT_BYTE", "Node", "Options", "Peer", "PeerProgress", "StateMachine", "cluster_id"]

log = logging.getLogger(__name__)

Listener = Callable[[Peer | None], None]


class Node:
    """One server's part in the cluster's log. `on_fatal` gets what makes going on unsafe.

    A node that is in no cluster, or has no vote, has a leader at most and proposes nothing.
    `resolve` gives a server's present address; `dialer` and `identity` replace plain TCP, see
    `transport.Wiring`; while `founding` it becomes a first voter only by `bootstrap`.
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
        self._place: Place | None = None
        self._driver: Driver | None = None
        self._idle = Transport(me.id, None, _Deaf(), self, (clock, dice))
        self._tasks = Tasks(on_fatal)
        self._switching = self._stopped = False
        self._learners: list[Peer] = []
        self._listeners: list[Listener] = []
        self._announced = ""
        self.disk = Disk(options.directory, options.disk_floor, clock)
        self.figures = Figures(clock)
        self._waiting = Waiting(clock, options.answer_seconds)
        self._waiting.times = self.figures.commits
        self._switched = asyncio.Event()
        self.resolve: Callable[[Peer], str] = lambda peer: peer.address
        self.dialer: Callable[[Peer], Awaitable[Streams]] | None = None
        self.identity: Callable[[asyncio.StreamWriter], str | None] = lambda _writer: None
        self.lease_lost: Callable[[], None] = lambda: None
        """Called, before anybody else may lead, when what `leased_until` said is true no longer."""
        self.founding = True

    async def start(self) -> None:
        """Verify and replay what is on disk, and take part. It does not listen itself.

        Raises Invalid, with one line that names the file, when it is damaged; then nothing on
        disk was changed.
        """
        place = self._epochs.load()
        self.disk.poll(now=True)
        if place is not None:
            if place.epoch.recovered:
                log.warning(
                    "epoch %d was written by hand: %s", place.epoch.number, place.epoch.reason
                )
            self._begin(place, fresh=False)

    async def stop(self) -> None:
        """Take no part any more. Whoever waits gets OutcomeUnknown."""
        self._stopped = True
        await self._tasks.stop()
        driver, self._driver = self._driver, None
        if driver is not None:
            await driver.stop()
        await self._idle.stop()
        self._announce()

    def bootstrap(self, peers: Sequence[Peer], *, observes: bool = False) -> None:
        """Found the cluster with these voters: durable when it returns. Same voters: no effect.

        `observes` where this server may have been one of them before and lost its disk. Raises
        Conflict when there is another epoch already, Invalid for impossible voters.
        """
        epoch = founded(peers)
        if self._place is not None:
            if self._place.epoch.cluster != epoch.cluster:
                raise Conflict("this server belongs to a cluster with other voters already")
            return
        self._begin(Place(epoch, observes), fresh=True)

    def _begin(
        self, place: Place, *, fresh: bool, carried: bool = False, first: bool = False
    ) -> None:
        number, chance = place.epoch.number, (self._clock, self._dice)
        folder = self._epochs.folder(number)
        driver = Driver(self.me.id, place, folder, self._options, self._machine, chance)
        journal = Path(folder, "journal")
        check_owner(journal, self.me.id)
        driver.open(self, Past(self._epochs), fresh=fresh, carried=carried)
        claim(journal, self.me.id)
        driver.replica.room, driver.figures = self.disk.room, self.figures
        driver.replica.lease_lost = self._lease_lost
        driver.on_step, driver.on_fatal = self._stepped, self._on_fatal
        driver.on_snapshot = self._forget_past
        if fresh:  # After the journal: a record without a journal means that it was lost.
            self._epochs.save(place)
        self._place, self._driver = place, driver
        driver.start(fresh=fresh, first=first)
        self._follow(driver)
        self._switched.set()
        self._switched = asyncio.Event()

    # Succession.

    def _forget_past(self) -> None:
        if self._place is not None and self._place.epoch.start_index:
            number = self._place.epoch.number
            loop = asyncio.get_running_loop()
            loop.run_in_executor(None, self._epochs.forget_before, number)

    async def _succeed(self, old: Driver) -> None:
        stop = old.replica.stop
        assert stop is not None
        epoch = succeeding(old.place.epoch, stop.next, stop.index, stop.term)
        log.info("epoch %d begins after entry %d: %s", epoch.number, stop.index, _told(epoch))
        first = old.replica.leading is not None and self.me.id in epoch.voter_ids
        await self._replace(Place(epoch), carried=old.replica.seeded, first=first)

    async def _replace(self, place: Place, *, carried: bool, first: bool = False) -> None:
        old, self._driver = self._driver, None
        if old is not None:
            await old.stop()
        self._announce()
        if not self._stopped:
            self._begin(place, fresh=True, carried=carried, first=first)
        self._switching = False

    async def _adopt(self, news: Sequence[Epoch]) -> None:
        """Go where others are: commit up to the stop-sign, or begin without the state."""
        place, driver, newest = self._place, self._driver, news[-1]
        following = place is not None and news[0].number == place.epoch.number + 1
        if driver is not None and following and driver.replica.learn_stop(news[0]):
            self._switching = False  # The switch follows as soon as that is durable.
            driver.poke()
            return
        log.info("epoch %d was begun by others: %s", newest.number, _told(newest))
        await self._replace(succession.adopted(self.me.id, place, newest), carried=False)
        for record in news[:-1]:
            self._epochs.save(Place(record))

    # What the transport needs.

    async def dial(self, peer: Peer) -> Streams:
        """Connect to a server."""
        if self.dialer is not None:
            return await self.dialer(peer)
        return await dial(self.resolve(peer))

    def identify(self, writer: asyncio.StreamWriter) -> str | None:
        """The name in the certificate of who connected."""
        return self.identity(writer)

    def since(self, number: int) -> Sequence[Epoch]:
        """Records of later epochs."""
        return self._epochs.since(number)

    def offer(self, records: Sequence[Epoch]) -> None:
        """Another server told of these epochs. Raises Invalid when they contradict ours."""
        news = succession.continued(self._place, records)
        if not news or self._switching or self._stopped:
            return
        if self.founding and news[-1].number == 1 and self.me.id in news[-1].voter_ids:
            return
        self._switching = True
        self._tasks.start(self._adopt(news), name="raft adopt", fatal=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection from another server whose first byte, RAFT_BYTE, was read already."""
        if self._driver is not None:
            await self._driver.transport.serve(reader, writer)
        elif self._place is None and not self._stopped:
            await self._idle.serve(reader, writer)
        else:
            writer.close()

    # Membership.

    def follow(self, learners: Sequence[Peer]) -> None:
        """While this node leads, send the log to these servers too, which have no vote."""
        self._learners = [peer for peer in learners if peer.id != self.me.id]
        if self._driver is not None:
            self._follow(self._driver)

    def _follow(self, driver: Driver) -> None:
        driver.transport.follow(self._learners)
        driver.replica.follow([peer.id for peer in self._learners])
        driver.poke()

    async def change(
        self, voters: Sequence[Peer], barred: Sequence[str] = (), reason: str = ""
    ) -> int:
        """Make these the voters, by one stop-sign; its log index, once the new epoch began here.

        Raises Invalid for an impossible set, Conflict when somebody in it is not ready, NoLeader
        when nothing was done, OutcomeUnknown when leadership was lost meanwhile.
        """
        driver = self._participating()
        if self._switching:
            raise NoLeader(CHANGING)
        switched = self._switched
        proposal = membership.Proposal(voters, barred, reason)
        index = await membership.change(driver, proposal, self._clock, self._waiting)
        try:
            async with asyncio.timeout(self._options.answer_seconds):
                await switched.wait()
        except TimeoutError:
            raise OutcomeUnknown("the voters changed, but the next epoch has not begun") from None
        return index

    async def transfer(self, to: str = "") -> Peer:
        """Hand leadership to this voter, or to the one that is furthest; who leads then.

        Raises NoLeader when this node does not lead, Invalid for no other voter, Unreachable when
        nobody took over in time.
        """
        driver = self._participating()
        await membership.transfer(driver, to, self._clock, self._waiting)
        try:
            async with asyncio.timeout(2 * self._options.election_seconds[1]):
                while (leader := self.leader) is None:
                    await self._clock.sleep(self._options.heartbeat_seconds / 4)
                return leader
        except TimeoutError:
            raise Unreachable("leadership was given up, but nobody leads yet") from None

    def progress(self) -> dict[str, PeerProgress]:
        """On the leader, what is known of every other server, by id; empty elsewhere."""
        running = self._running()
        if running is None:
            return {}
        now, observing = self._clock.monotonic(), running.transport.observing
        return membership.progress(running.replica, observing, now)

    async def propose(self, data: bytes) -> tuple[int, object]:
        """Commit a command: its log index and what the machine returned for it here.

        Raises NoLeader (nothing was done), Busy when 16,384 proposals or 256 MiB wait already,
        TooLarge over 1.5 MiB, and OutcomeUnknown when leadership or the deadline passed meanwhile.
        """
        self._participating()
        future: asyncio.Future[tuple[int, object]] = asyncio.get_running_loop().create_future()
        if not self.begin(
            data, lambda index, *answer: settle(future, (index, answer[0]), answer[1])
        ):
            raise NoLeader("this server does not lead")
        return await future

    def begin(self, data: bytes, tell: Told) -> bool:
        """As `propose`; `tell` is called once with the answer, later in the loop.

        False when this server does not lead. Raises TooLarge.
        """
        if len(data) > COMMAND_BYTES_MAX:
            raise TooLarge(f"a log entry of {len(data)} bytes; {COMMAND_BYTES_MAX} are allowed")
        driver = self._running()
        if driver is None or driver.replica.leading is None:
            return False
        driver.propose(data, self._waiting.call(tell))
        return True

    async def barrier(self) -> None:
        """Return when all that was acknowledged before the call is applied here.

        Raises NoLeader, or OutcomeUnknown when leadership or the deadline passed meanwhile.
        """
        driver, future = self._participating(), self._waiting.begin()
        driver.replica.barrier(lambda error: settle(future, (0, None), error))
        driver.poke()
        await future

    def leased(self) -> bool:
        """Whether this node leads, and surely no other does at this moment."""
        driver = self._driver
        if driver is None or driver.ended:
            return False
        leading = driver.replica.leading
        return leading is not None and leading.leased()

    def leased_until(self) -> float:
        """Until when this node surely leads alone, by the monotonic clock, unless `lease_lost`.

        0 when that is not sure now.
        """
        leading = self._leading()
        return leading.leased_until() if leading is not None else 0.0

    def _lease_lost(self) -> None:
        self.lease_lost()

    @property
    def bootstrapped(self) -> bool:
        """Whether this server belongs to a cluster: an epoch is on disk."""
        return self._place is not None

    @property
    def cluster_id(self) -> str:
        """The id of the cluster; empty before `bootstrap`."""
        return self._place.epoch.cluster if self._place else ""

    @property
    def epoch(self) -> int:
        """The number of the present epoch; 0 before `bootstrap`."""
        return self._place.epoch.number if self._place else 0

    @property
    def barred(self) -> Sequence[str]:
        """Ids that an operator took the vote of: not to be given one by itself."""
        return self._place.epoch.barred if self._place else ()

    @property
    def leader(self) -> Peer | None:
        """Who leads, as far as this node knows."""
        running = self._running()
        if running is None:
            return None
        found = running.replica.engine.leader
        for voter in self._place.epoch.voters if self._place else ():
            if voter.id == found:
                return voter
        return None

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
        return list(self._place.epoch.voters) if self._place else []

    @property
    def learners(self) -> list[Peer]:
        """Servers without a vote that this node would send the log to."""
        return list(self._learners)

    @property
    def last_contact(self) -> float:
        """Seconds since the leader was heard, or since this was it; infinite if never."""
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
            "epoch": self.epoch,
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
            names = {peer.id: peer.name for peer in [*self.voters, *self._learners]}
            status.update(describe(driver, names, self._clock))
            status["seeded"] = driver.replica.seeded
            status["observes"] = driver.place.observes
            status["connected"] = sorted(
                names.get(peer, peer) for peer in driver.transport.connected()
            )
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
        driver = self._driver
        return driver.replica.leading if driver is not None and not driver.ended else None

    def _participating(self) -> Driver:
        driver = self._running()
        if driver is None:
            raise NoLeader(CHANGING if self._switching else "this server takes no part")
        return driver

    def _stepped(self) -> None:
        self.disk.poll()
        self._waiting.expire()
        self._announce()
        driver = self._driver
        if driver is not None and not self._switching and driver.replica.released:
            self._switching = True
            self._tasks.start(self._succeed(driver), name="raft switch", fatal=True)

    def _announce(self) -> None:
        leader = self.leader
        name = leader.id if leader else ""
        if name != self._announced:
            self._announced = name
            log.info("leader is %s, term %d", leader.name if leader else "unknown", self.term)
            for listener in list(self._listeners):
                listener(leader)


def _told(epoch: Epoch) -> str:
    names = ", ".join(sorted(voter.name for voter in epoch.voters))
    return f"voters {names}" + (f" ({epoch.reason})" if epoch.reason else "")


class _Deaf:
    """Hears nothing: there is nobody to hear before a server belongs to a cluster."""

    def connected(self, peer: str) -> None:
        """Nobody connects."""

    def disconnected(self, peer: str) -> None:
        """Nobody was connected."""

    def received(self, peer: str, message: Message) -> None:  # noqa: ARG002 - the transport's interface.
        """Nobody says anything."""
        raise Invalid(f"{peer} spoke before this server belongs to a cluster")
