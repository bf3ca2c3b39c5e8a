"""Simulated servers whose voters change: as `Node` does it, on the same decisions of production."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from mesh.clock import SeededDice
from mesh.errors import Conflict, Invalid, MeshError
from mesh.raft import succession
from mesh.raft.epochs import Epoch, Epochs, Peer, Place, succeeding
from mesh.raft.journal import Segments
from mesh.raft.membership import Proposal, progress, stop_sign
from mesh.raft.packer import Prepared
from mesh.raft.past import Past
from mesh.raft.recovery import recover
from mesh.raft.replica import Replica, Start
from mesh.raft.snapshots import Snapshots
from tests.sim.checks import State, Violation, WatchedJournal
from tests.sim.clock import HostClock
from tests.sim.server import TIMING, Lane, Server

if TYPE_CHECKING:
    from tests.sim.world import World


class Member(Server):
    """A server with a place in a chain of epochs."""

    def __init__(self, world: World, name: str, clock: HostClock, first: Place) -> None:
        super().__init__(world, name, clock)
        self._epochs = Epochs(f"/{name}/raft")
        self._first = first
        self.place = first
        self._switching = False
        self.switches = 0

    @property
    def taking_part(self) -> bool:
        return super().taking_part and not self._switching

    @property
    def voters(self) -> Collection[str]:
        return self.place.epoch.voter_ids

    # Life.

    def start(self) -> None:
        """Recover from the disk and take part."""
        self._begin_life()
        self._switching = False
        try:
            place = self._epochs.load()
            fresh = place is None
            self.place = place or self._first
            self._open(fresh=fresh, carried=False)
            before, self.journal = self.journal, self._opened
            self.state = State()
            base = self._base_from_disk()
        except Invalid as error:
            raise Violation("refused to start", error.message) from error
        self._take_part(base, before, fresh=fresh)
        self._timer(self._life)
        self._world.links.reconnect(self.name)

    def _open(self, *, fresh: bool, carried: bool) -> None:
        """The disk of the present place; what `Driver.open` does."""
        epoch = self.place.epoch
        folder = self._epochs.folder(epoch.number)
        self._segments = Segments(f"{folder}/journal", self._world.setting.segment_bytes)
        self._snapshots = Snapshots(f"{folder}/snapshots")
        journal = WatchedJournal(self._world.checks, epoch.number, epoch.start_index)
        disk = (self._segments, self._snapshots)
        self._found = recover(folder, journal, disk, epoch, fresh=fresh, carried=carried)
        if journal.dirty:
            self._segments.store(journal.take())
            journal.stored()
        if fresh:
            self._epochs.save(self.place)
        self._opened = journal

    def _base_from_disk(self) -> int:
        epoch = self.place.epoch
        if self._found is not None:
            self._restore(State.unpack(b"".join(self._found.pieces())))
            return self._found.index
        if epoch.start_index and self.journal.term_at(epoch.start_index) is not None:
            Past(self._epochs).restore(epoch, _Machine(self))
            return epoch.start_index
        return 1

    def _take_part(
        self, base: int, before: WatchedJournal, *, fresh: bool, first: bool = False
    ) -> None:
        epoch, checks = self.place.epoch, self._world.checks
        chance = (self.clock, SeededDice(self._dice.below(1 << 30)))
        start = Start(base, epoch.start_index, self.place.observes)
        memory = (self.journal, self._snapshots)
        self.replica = Replica((self.name, epoch.voter_ids), memory, self, TIMING, chance, start)
        self._base = base
        self.replica.room = self.room
        self.journal.replica = self.replica
        checks.started(self, before)
        checks.knows(self.name, base)
        if self.journal.dirty:
            self._segments.store(self.journal.take())
            self.journal.stored()
        if fresh or len(epoch.voters) == 1:
            self.replica.elections.hurry(first=first)
        self._compacting = self._soon = False
        self._applied_bytes = 0
        self.follow()

    def follow(self) -> None:
        """Everybody knows of everybody, as through gossip."""
        self.replica.follow([name for name in self._world.names if name not in self.voters])

    # Succession.

    def connected(self, peer: str) -> None:
        """Both say which epoch they are in; only within one do they go on."""
        other = self._world.servers[peer]
        assert isinstance(other, Member)
        if self._switching or other._switching or other.paused:
            self._refuse(peer)
            return
        hello = succession.hello(self.place, self.name, peer)
        answer = succession.answer(other.place, other._epochs.since, peer, hello, lambda _: True)
        if answer.refusal:
            raise Violation("succession", answer.refusal)
        if answer.epoch == hello.epoch:
            super().connected(peer)
            return
        self._refuse(peer)
        if answer.epoch > hello.epoch:
            self._offered(answer.records)
        else:
            other._offered(self._epochs.since(answer.epoch))

    def _refuse(self, peer: str) -> None:
        pair = (self.name, peer)
        self._world.timeline.after(0.0, lambda: self._world.links.cut(pair), "refused")

    def _offered(self, records: Sequence[Epoch]) -> None:
        try:
            news = succession.continued(self.place, records)
        except Invalid as error:
            raise Violation("succession", error.message) from error
        if not news or self._switching:
            return
        following = news[0].number == self.place.epoch.number + 1
        if following and self.replica.learn_stop(news[0]):
            return
        place = succession.adopted(self.name, self.place, news[-1])
        self._switch(place, news[:-1], carried=False)

    def pump(self) -> None:
        if not self._switching:
            super().pump()
            if self.replica.released and not self._switching:
                stop = self.replica.stop
                assert stop is not None
                epoch = succeeding(self.place.epoch, stop.next, stop.index, stop.term)
                self._world.checks.succeeds(epoch)
                self._switch(Place(epoch), [], carried=self.replica.seeded)

    def receive(self, peer: str, message: object) -> None:
        if not self._switching:
            super().receive(peer, message)  # type: ignore[arg-type]

    def _switch(self, place: Place, between: Sequence[Epoch], *, carried: bool) -> None:
        """End what runs in this epoch, write the next one down, and go on in it."""
        self._switching = True
        first = self.replica.leading is not None and self.name in place.epoch.voter_ids
        self.replica.end()
        self._world.links.cut_all(self.name)
        for lane in (self._journal_lane, self._packer_lane):
            for job in lane.take_all()[:1]:
                self._try(job)  # A thread ends what it has begun.
        life = self._life = self._life + 1
        self._journal_lane, self._packer_lane = Lane(self), Lane(self)

        def write() -> None:
            before, self.place = self.place, place
            try:
                self._open(fresh=True, carried=carried)
            except BaseException:
                self.place = before
                raise
            for record in between:
                self._epochs.save(Place(record))

        def done() -> None:
            assert life == self._life
            before, self.journal = self.journal, self._opened
            self.switches += 1
            self._switching = False
            base = place.epoch.start_index if carried else 1
            self._take_part(base, before, fresh=True, first=first)
            self._timer(self._life)
            self.pump()

        self._journal_lane.submit("switch", write, done)

    def _due(self, index: int) -> bool:
        first = self.replica.snapshots.latest is None and self._base > 1
        return first or super()._due(index)

    def _saved(self, index: int) -> None:
        super()._saved(index)
        number = self.place.epoch.number
        self._packer_lane.submit("forget", lambda: self._epochs.forget_before(number), self.pump)

    # What operators and autopilot do.

    def change(self, voters: Sequence[str]) -> bool:
        """Propose these voters if this server leads and they are ready."""
        replica = self.replica
        if self._switching or replica.leading is None or replica.stop is not None:
            return False
        known = progress(replica, (), self.clock.monotonic())
        proposal = Proposal([Peer(name, name, name) for name in voters])
        try:
            record = stop_sign(self.place.epoch, self.name, known, proposal)
        except Conflict:
            return False
        replica.propose_stop(record, _ignore)
        self.pump()
        return True


def _ignore(_index: int, _result: object, _error: MeshError | None) -> None:
    """Nobody waits."""


class _Machine:
    """The machine, as `Past` brings it back."""

    def __init__(self, server: Member) -> None:
        self._server = server

    def apply(self, index: int, data: bytes) -> object:
        return self._server.apply(index, data)

    def snapshot(self) -> Iterator[bytes]:
        raise AssertionError("the past is only read")

    def prepare(self, index: int, pieces: Iterator[bytes]) -> Prepared:
        assert index
        return _Read(self._server, State.unpack(b"".join(pieces)))


class _Read:
    def __init__(self, server: Member, state: State) -> None:
        self._server, self._state = server, state

    def install(self) -> None:
        self._server._restore(self._state)

    def discard(self) -> Iterator[None]:
        return iter(())
