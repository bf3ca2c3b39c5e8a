"""One voter of one epoch without I/O: messages and time go in, messages and results come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from mesh.clock import Clock, Dice
from mesh.codec import unpack
from mesh.errors import Invalid, NoLeader
from mesh.raft import guard
from mesh.raft.disk import Room
from mesh.raft.elections import Elections
from mesh.raft.engine import NO_OP, STOP_SIGN, Engine
from mesh.raft.epochs import Epoch
from mesh.raft.fetch import Fetch, piece
from mesh.raft.guard import Matches, Tripwire
from mesh.raft.handover import Handover
from mesh.raft.journal import Batch, Journal
from mesh.raft.leading import Confirmed, Leading
from mesh.raft.messages import (
    Ack,
    Append,
    Chunk,
    ChunkReply,
    Message,
    Piece,
    Probe,
    Pull,
    Reset,
    Stale,
    TimeoutNow,
)
from mesh.raft.proposals import Done, Proposals
from mesh.raft.snapshots import Incoming, Snapshots, Stored

CHANGING = "the servers of the cluster change at this moment"


class Timing(msgspec.Struct, frozen=True):
    """All in seconds. Two longest elections without a majority end a leadership."""

    election: tuple[float, float]
    heartbeat: float


class Start(msgspec.Struct, frozen=True):
    """Where a replica starts: the index of the machine's state, and what it must hold to vote.

    A voter that `observes` never votes, see `epochs.Place`.
    """

    index: int = 1
    vote_from: int = 0
    observes: bool = False


class Stop(msgspec.Struct, frozen=True):
    """The stop-sign that ended an epoch: where it lies, and what it says of the next."""

    index: int
    term: int
    next: Epoch


class Host(Protocol):
    """Who drives a replica and does its I/O."""

    def send(self, peer: str, message: Message) -> None:
        """Send it if there is a connection, else drop it."""
        ...

    def apply(self, index: int, command: bytes) -> object:
        """Apply a committed command to the machine; its result."""
        ...

    def install(self, incoming: Incoming) -> None:
        """Verify and keep a snapshot that arrived, then call `installed` or `not_installed`."""
        ...


class Replica:
    """Call an input method, then `step`; store what `begin_store` gives, then call `stored`.

    Nothing that promises something leaves before the records it rests on are stored: such
    messages wait in the outbox, for the sync that covers them. What rests only on records that
    are durable already (heartbeats, probes, repeated acknowledgements) leaves at once.
    """

    def __init__(
        self,
        voters: tuple[str, Sequence[str]],
        disk: tuple[Journal, Snapshots],
        host: Host,
        timing: Timing,
        chance: tuple[Clock, Dice],
        start: Start | None = None,
    ) -> None:
        me, everybody = voters
        start = start or Start()
        self.me = me
        self.journal, self.snapshots = disk
        self._others = [voter for voter in everybody if voter != me]
        self._votes = me in everybody and not start.observes
        self._vote_from = start.vote_from
        self._host, self._timing = host, timing
        self._clock = chance[0]
        quorum_seconds = 2 * timing.election[1]
        latest = self.snapshots.latest
        index = max(start.index, latest.index if latest else 1)
        timed = (*chance, quorum_seconds)
        self.engine = Engine(me, self._others, self.journal, self, timed, index)
        sends = (self._send, self._send_durable)
        self.elections = Elections(self.engine, self._others, timing.election, chance, sends)
        self.elections.eligible = self._eligible
        self.leading: Leading | None = None
        self.lease_lost: Callable[[], None] = lambda: None
        """Called when what `leased_until` of the leading side said is true no longer."""
        self.proposals = Proposals()
        self.stop: Stop | None = None
        self._learners: list[str] = []
        self._handover = Handover(self._clock, timing.election[1], self._send)
        self._linger_until = 0.0
        self._connected: set[str] = set()
        self._outbox: list[tuple[str, Message]] = []
        self._held: list[tuple[str, Message]] = []
        self._storing = False
        self._fetch = Fetch(self.snapshots)
        self.installs = 0
        self.room = Room()
        self.heard_commit = 0  # What leaders said is committed, held here or not.

    @property
    def seeded(self) -> bool:
        """Whether it holds the state its epoch starts from."""
        return self.engine.applied >= self._vote_from

    def _eligible(self) -> bool:
        return self._votes and self.seeded and self.stop is None

    # Inputs.

    def connected(self, peer: str) -> None:
        """Messages to this server arrive in order from now on."""
        self._connected.add(peer)
        self._reconnected(peer, connected=True)

    def disconnected(self, peer: str) -> None:
        """Some of the messages sent to this server may be lost."""
        self._connected.discard(peer)
        self._reconnected(peer, connected=False)

    def _reconnected(self, peer: str, *, connected: bool) -> None:
        progress = self.leading.everybody.get(peer) if self.leading else None
        if progress is not None:
            progress.reconnected(connected=connected)

    def follow(self, learners: Sequence[str]) -> None:
        """While this voter leads, send the log to these servers too, which have no vote."""
        self._learners = [one for one in learners if one not in self._others and one != self.me]
        if self.leading:
            self.leading.follow({one: one in self._connected for one in self._learners})

    def propose(self, command: bytes, done: Done) -> None:
        """Put the command into the log if this voter leads. `done` is called exactly once."""
        if self.leading is None:
            done(0, None, NoLeader("this server does not lead"))
        elif self.stop is not None:
            done(0, None, NoLeader(CHANGING))
        elif self.room.low:
            done(0, None, self.room.refusal())
        else:
            self.proposals.stage(command, done)

    def propose_stop(self, record: bytes, done: Done) -> None:
        """Propose to end the epoch; the record of the next one is completed where it commits."""
        if self.leading is None:
            done(0, None, NoLeader("this server does not lead"))
        elif self.stop is not None or not self.leading.in_charge:
            done(0, None, NoLeader(CHANGING))
        else:
            self.proposals.stage(record, done, STOP_SIGN)

    def barrier(self, done: Confirmed) -> None:
        """See `Leading.barrier`; fails at once with NoLeader when this voter does not lead."""
        if self.leading is None:
            done(NoLeader("this server does not lead"))
        elif self.stop is not None:
            done(NoLeader(CHANGING))
        else:
            self.leading.barrier(done)

    def transfer(self, target: str, done: Confirmed) -> None:
        """Hand leadership to this voter; `done` once it is lost, or with the reason why not."""
        if self.leading is None or self.stop is not None:
            done(NoLeader("this server does not lead"))
        elif target not in self.leading.peers:
            done(Invalid(f"{target} is no other voter"))
        else:
            self._handover.begin(target, done)

    def receive(self, peer: str, message: Message) -> None:
        """A server says something. Raises Invalid when no server of ours would."""
        if isinstance(message, Pull):
            if (found := piece(self.snapshots, message)) is not None:
                self._send(peer, found)
        elif isinstance(message, Piece):
            self._piece(peer, message)
        elif isinstance(message, Ack | Reset | ChunkReply | Stale):
            self._answered(peer, message)
        elif peer not in self._others:
            raise Invalid(f"{peer} is no voter")
        elif isinstance(message, Append):
            self._append(peer, message)
        elif isinstance(message, Chunk):
            self._chunk(peer, message)
        elif isinstance(message, TimeoutNow):
            if message.term == self.engine.term and self.engine.leader == peer:
                self.elections.take_over()
        else:
            self.elections.receive(peer, message)

    def _answered(self, peer: str, message: Ack | Reset | ChunkReply | Stale) -> None:
        if message.term > self.engine.term:
            self.engine.hear_term(message.term)
        elif self.leading and message.term == self.engine.term and not isinstance(message, Stale):
            self.leading.receive(peer, message)

    def learn_stop(self, following: Epoch) -> bool:
        """The epoch after this one is known: commit up to its start if our log holds that.

        False when the log does not: then only a snapshot of the next epoch helps.
        """
        index, term = following.start_index, following.start_term
        if self.stop is None:
            if self.journal.term_at(index) != term:
                return False
            held = self.engine.applied >= index  # It came within a snapshot.
            self.engine.commit_to(index)
            if held:
                self._stop_at(Stop(index, term, following))
        return True

    @property
    def released(self) -> bool:
        """Whether this server may leave its ended epoch for the next.

        Its log is durable up to the stop-sign, and if it leads, a majority of the next voters is
        known to hold it as well, or had its time.
        """
        stop = self.stop
        if stop is None or self.journal.durable_index < stop.index:
            return False
        if self.leading is None or self._clock.monotonic() >= self._linger_until:
            return True
        told = {
            name for name, peer in self.leading.everybody.items() if peer.commit_told >= stop.index
        }
        holders = (self.leading.holders(stop.index) & told) | {self.me}
        voters = stop.next.voter_ids
        return 2 * len(holders & set(voters)) > len(voters)

    def step(self) -> None:
        """Do what the inputs and the time call for."""
        self.elections.tick()
        if self._may_tick:
            self.engine.tick()
        if self.leading and self.stop is None and not self._busy:
            self.proposals.append(self.engine)  # After the tick, or a stream would put it off.
        if self.leading:
            stopped = self.stop is not None
            self._handover.step(self.leading, self.journal.last_index, stopped=stopped)
            self.leading.send(self._send, self._send_durable)
            self.leading.answer_barriers()
        if not self.seeded:
            self._pull()

    @property
    def restless(self) -> bool:
        """Whether the next step should come at once, and not only with the next input."""
        if self.engine.behind and self._may_tick:
            return True
        return self.leading is not None and self.leading.restless

    @property
    def _busy(self) -> bool:
        return self._storing or self._handover.under_way

    @property
    def _may_tick(self) -> bool:
        # A single voter counts as majority, so only once all is durable; `stored` steps again.
        return bool(self._others) or not (self._storing or self.journal.dirty)

    def begin_store(self) -> Batch | None:
        """Records to store now, then call `stored`. None when nothing is to be stored."""
        if self._storing:
            return None
        if not self.journal.dirty:
            self._release(self._take_outbox())
            return None
        self._storing = True
        self._held = self._take_outbox()
        return self.journal.take()

    def stored(self) -> None:
        """The records are on disk: what waited for them leaves. Call `step` next."""
        self._storing = False
        self.journal.stored()
        held, self._held = self._held, []
        self._release(held)

    def compacted(self, index: int) -> None:
        """A snapshot holds the state up to a later index durably: forget entries below this."""
        if index > self.journal.first_index:
            self.journal.delete_to(index)

    def installed(self, snapshot: Stored, restore: Callable[[], None]) -> None:
        """The snapshot that a leader sent is verified and durable; `restore` loads the machine."""
        self._fetch.end_install()
        index = snapshot.index
        if not guard.snapshot_is_held(self.journal, self.engine.commit, index, snapshot.term):
            restore()
            self.proposals.lose_pending()
            self.journal.clear(index, snapshot.term, NO_OP)
            self.engine.installed(index)
            self.installs += 1

    def not_installed(self) -> None:
        """The snapshot was damaged: the leader will begin again."""
        self._fetch.end_install()

    # What the engine tells.

    def apply(self, index: int, term: int, command: bytes | None) -> None:
        """An entry is committed."""
        result = self._host.apply(index, command) if command is not None else None
        self.proposals.applied(index, term, result)

    def stop_sign(self, index: int, term: int, record: bytes) -> None:
        """The stop-sign is committed: nothing after it counts."""
        self._stop_at(Stop(index, term, unpack(record, Epoch)))
        self.proposals.applied(index, term, None)
        self.proposals.refuse_pending(CHANGING)
        self.proposals.refuse_staged(CHANGING)

    def _stop_at(self, stop: Stop) -> None:
        self.stop = stop
        self._linger_until = self._clock.monotonic() + self._timing.election[0]
        if self.leading:
            self.leading.retire(NoLeader(CHANGING))

    def ask_vote(self, voter: str) -> None:
        """The engine is a candidate."""
        self.elections.ask_vote(voter)

    def give_vote(self, candidate: str, term: int) -> None:
        """The engine voted."""
        self.elections.gave_vote(candidate, term)

    def role_changed(self) -> None:
        """The engine became or ceased to be leader or candidate."""
        if self.engine.leads and self.leading is None:
            seconds = (self._timing.heartbeat, self._timing.election[0])
            self.leading = Leading(self.engine, self._others, self.snapshots, self._clock, seconds)
            self.leading.lease_lost = self.lease_lost
            for peer in self._connected & set(self._others):
                self.leading.peers[peer].connected = True
            self.follow(self._learners)
        elif not self.engine.leads and self.leading is not None:
            leading, self.leading = self.leading, None
            leading.end()
            self.proposals.refuse_staged("this server does not lead any more")
            self.proposals.lose_pending()
            self.elections.stepped_down()
            self._handover.end(None)

    # Following.

    def _follow(self, peer: str, term: int) -> bool:
        if term < self.engine.term:
            self._send_durable(peer, Stale(self.engine.term))
            return False
        if term == self.engine.term and self.leading:
            raise Tripwire(f"{peer} and this server both lead term {term}")
        if term > self.engine.term:
            self.engine.hear_leader(peer, term, 0)
        self.elections.hear_leader()
        return True

    def _show(self, probe: Probe) -> Probe:
        return Probe(probe.round, probe.sent, self._clock.monotonic())

    def _append(self, peer: str, message: Append) -> None:
        guard.check_entries(message.entries)
        if not self._follow(peer, message.term):
            return
        engine, journal, probe = self.engine, self.journal, self._show(message.probe)
        self.heard_commit = max(self.heard_commit, message.commit)
        if not message.prev_index:
            engine.hear_leader(peer, message.term, engine.commit)
            send = self._send if journal.term_durable else self._send_durable
            send(peer, Ack(message.term, 0, probe))
            return
        previous = (message.prev_index, message.prev_term)
        entries = self.room.admit(journal, message.prev_index, message.entries)
        verdict = guard.receive_entries(journal, engine.commit, previous, entries)
        commit = guard.clamp_commit(verdict, message.commit, engine.commit)
        engine.hear_leader(peer, message.term, commit)
        if not isinstance(verdict, Matches):
            if self.room.silent(message.term):
                self._send_durable(peer, Ack(message.term, 0, probe))
                return
            reset = Reset(message.term, message.generation, verdict.hint, probe)
            self._send_durable(peer, reset)
        elif message.entries or not journal.term_durable:
            self._send_durable(peer, Ack(message.term, verdict.index, probe))
        else:
            durable = min(verdict.index, journal.durable_index)
            self._send(peer, Ack(message.term, durable, probe))

    def _chunk(self, peer: str, message: Chunk) -> None:
        if not self._follow(peer, message.term):
            return
        engine, probe = self.engine, self._show(message.probe)
        engine.hear_leader(peer, message.term, engine.commit)
        if (incoming := self._fetch.incoming) is not None and self._fetch.installing:
            # That takes a while for a large one: the leader must not take us for gone.
            reply = ChunkReply(message.term, message.probe, incoming.index, incoming.received)
            self._send_durable(peer, reply)
            return
        term, index, entry_term = message.term, message.index, message.entry_term
        if guard.snapshot_is_held(self.journal, engine.commit, index, entry_term):
            self._fetch.drop()
            self._send_durable(peer, Ack(term, index, probe))
            return
        if not self.room.fits(message.size - message.offset):
            self._fetch.drop()
            self._send_durable(peer, Ack(term, 0, probe))
            return
        received = self._fetch.take_chunk(peer, message)
        if received or not message.data:  # A hole is reported once, to the next empty piece.
            self._send_durable(peer, ChunkReply(term, probe, index, received))
        self._install_whole()

    def _pull(self) -> None:
        now = self._clock.monotonic()
        if self.elections.patience.keeps(now) and self.engine.leader:
            return  # The leader will send what is needed.
        wanted = self._fetch.pull(sorted(self._connected), now)
        if wanted is not None:
            self._send(*wanted)

    def _piece(self, peer: str, message: Piece) -> None:
        room = self.room.fits(message.size - message.offset)
        if self.seeded or message.index < self._vote_from or not room:
            return
        self._fetch.take_piece(peer, message, self._clock.monotonic())
        if (wanted := self._fetch.next_pull()) is not None:
            self._send(peer, wanted)
        self._install_whole()

    def _install_whole(self) -> None:
        if (incoming := self._fetch.begin_install()) is not None:
            self._host.install(incoming)

    # The outbox.

    def end(self) -> None:
        """Nothing will be answered any more."""
        self.proposals.refuse_staged("this server stops")
        if self.leading:
            self.leading.end()
        if self.stop is None:
            self.proposals.lose_pending()
        self._handover.end(NoLeader("this server stops"))
        self._fetch.drop()

    def _send(self, peer: str, message: Message) -> None:
        self._host.send(peer, message)

    def _send_durable(self, peer: str, message: Message) -> None:
        self._outbox.append((peer, message))

    def _take_outbox(self) -> list[tuple[str, Message]]:
        outbox, self._outbox = self._outbox, []
        return outbox

    def _release(self, outbox: list[tuple[str, Message]]) -> None:
        for peer, message in outbox:
            leading = self.leading
            if leading and isinstance(message, Append) and message.term == leading.term:
                leading.left(peer, message)
            self._host.send(peer, message)
