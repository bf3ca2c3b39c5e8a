"""One voter of one epoch without I/O: messages and time go in, messages and results come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from mesh.clock import Clock, Dice
from mesh.errors import Busy, MeshError, NoLeader, OutcomeUnknown
from mesh.raft import guard
from mesh.raft.disk import Room
from mesh.raft.elections import Elections
from mesh.raft.engine import NO_OP, Engine
from mesh.raft.guard import Matches, Tripwire
from mesh.raft.journal import Batch, Journal
from mesh.raft.leading import Confirmed, Leading
from mesh.raft.messages import (
    Ack,
    Append,
    Chunk,
    ChunkReply,
    Message,
    PreVote,
    PreVoteReply,
    Reset,
    Stale,
    Vote,
    VoteReply,
)
from mesh.raft.snapshots import Incoming, Snapshot, Snapshots

PENDING_MAX = 16384  # Proposals that wait for an answer.
PENDING_BYTES_MAX = 256 << 20  # And the bytes of their commands.

Done = Callable[[int, object, MeshError | None], None]


class Timing(msgspec.Struct, frozen=True):
    """All in seconds. Two longest elections without a majority end a leadership."""

    election: tuple[float, float]
    heartbeat: float


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
    ) -> None:
        me, everybody = voters
        self.me = me
        self.journal, self.snapshots = disk
        self._others = [voter for voter in everybody if voter != me]
        self._host, self._timing = host, timing
        self._clock = chance[0]
        latest = self.snapshots.latest
        quorum_seconds = 2 * timing.election[1]
        self.engine = Engine(
            me, self._others, self.journal, self, (*chance, quorum_seconds),
            latest.index if latest else 1,
        )  # fmt: skip
        sends = (self._send, self._send_durable)
        self.elections = Elections(self.engine, self._others, timing.election, chance, sends)
        self.leading: Leading | None = None
        self._connected: set[str] = set()
        self._staged: list[tuple[bytes, Done]] = []
        self._pending_bytes = 0
        self._pending: dict[int, tuple[int, Done, int]] = {}
        self._outbox: list[tuple[str, Message]] = []
        self._held: list[tuple[str, Message]] = []
        self._storing = False
        self._incoming: Incoming | None = None
        self._incoming_from = ("", 0)
        self._installing = False
        self.installs = 0
        self.room = Room()
        self.heard_commit = 0  # What leaders said is committed, held here or not.

    # Inputs.

    def connected(self, peer: str) -> None:
        """Messages to this voter arrive in order from now on."""
        self._connected.add(peer)
        if self.leading:
            self.leading.peers[peer].reconnected(connected=True)

    def disconnected(self, peer: str) -> None:
        """Some of the messages sent to this voter may be lost."""
        self._connected.discard(peer)
        if self.leading:
            self.leading.peers[peer].reconnected(connected=False)

    def propose(self, command: bytes, done: Done) -> None:
        """Put the command into the log if this voter leads. `done` is called exactly once."""
        if self.leading is None:
            done(0, None, NoLeader("this server does not lead"))
        elif self.room.low:
            done(0, None, self.room.refusal())
        elif len(self._staged) + len(self._pending) >= PENDING_MAX:
            done(0, None, Busy(f"{PENDING_MAX} proposals wait already"))
        elif self._pending_bytes + len(command) > PENDING_BYTES_MAX:
            done(0, None, Busy(f"proposals of {PENDING_BYTES_MAX} bytes wait already"))
        else:
            self._pending_bytes += len(command)
            self._staged.append((command, done))

    def barrier(self, done: Confirmed) -> None:
        """See `Leading.barrier`; fails at once with NoLeader when this voter does not lead."""
        if self.leading is None:
            done(NoLeader("this server does not lead"))
        else:
            self.leading.barrier(done)

    def receive(self, peer: str, message: Message) -> None:
        """A voter says something. Raises Invalid when no voter of ours would."""
        if isinstance(message, Append):
            self._append(peer, message)
        elif isinstance(message, Chunk):
            self._chunk(peer, message)
        elif isinstance(message, PreVote | PreVoteReply | Vote | VoteReply):
            self.elections.receive(peer, message)
        elif message.term > self.engine.term:
            self.engine.hear_term(message.term)
        elif isinstance(message, Stale):
            return
        elif self.leading and message.term == self.engine.term:
            self.leading.receive(peer, message)

    def step(self) -> None:
        """Do what the inputs and the time call for."""
        self.elections.tick()
        if self._others or not (self._storing or self.journal.dirty):
            self.engine.tick()  # A single voter counts as majority, so only once it is durable.
        if not self._storing:
            self._append_staged()  # After the tick, or a stream of proposals would put it off.
        if self.leading:
            self.leading.send(self._send, self._send_durable)
            self.leading.answer_barriers()

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

    def installed(self, snapshot: Snapshot, restore: Callable[[], None]) -> None:
        """The snapshot that a leader sent is verified and durable; `restore` loads the machine."""
        self._installing = False
        self._drop_incoming()
        index = snapshot.index
        if not guard.snapshot_is_held(self.journal, self.engine.commit, index, snapshot.term):
            restore()
            self._fail_pending()
            self.journal.clear(index, snapshot.term, NO_OP)
            self.engine.installed(index)
            self.installs += 1

    def not_installed(self) -> None:
        """The snapshot was damaged: the leader will begin again."""
        self._installing = False
        self._drop_incoming()

    # What the engine tells.

    def apply(self, index: int, term: int, command: bytes | None) -> None:
        """An entry is committed."""
        result = self._host.apply(index, command) if command is not None else None
        if (waiting := self._pending.pop(index, None)) is None:
            return
        proposed_term, done, size = waiting
        self._pending_bytes -= size
        if proposed_term == term:
            done(index, result, None)
        else:
            done(0, None, OutcomeUnknown("another leader's entry took the place of this write"))

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
            for peer in self._connected:
                self.leading.peers[peer].connected = True
        elif not self.engine.leads and self.leading is not None:
            leading, self.leading = self.leading, None
            leading.end()
            self._fail_pending()
            self.elections.postpone()

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

    def _append(self, peer: str, message: Append) -> None:
        guard.check_entries(message.entries)
        if not self._follow(peer, message.term):
            return
        engine, journal = self.engine, self.journal
        self.heard_commit = max(self.heard_commit, message.commit)
        if not message.prev_index:
            engine.hear_leader(peer, message.term, engine.commit)
            send = self._send if journal.term_durable else self._send_durable
            send(peer, Ack(message.term, 0, message.probe))
            return
        previous = (message.prev_index, message.prev_term)
        entries = self.room.admit(journal, message.prev_index, message.entries)
        verdict = guard.receive_entries(journal, engine.commit, previous, entries)
        commit = guard.clamp_commit(verdict, message.commit, engine.commit)
        engine.hear_leader(peer, message.term, commit)
        if not isinstance(verdict, Matches):
            if self.room.silent(message.term):
                self._send_durable(peer, Ack(message.term, 0, message.probe))
                return
            reset = Reset(message.term, message.generation, verdict.hint, message.probe)
            self._send_durable(peer, reset)
        elif message.entries or not journal.term_durable:
            self._send_durable(peer, Ack(message.term, verdict.index, message.probe))
        else:
            durable = min(verdict.index, journal.durable_index)
            self._send(peer, Ack(message.term, durable, message.probe))

    def _chunk(self, peer: str, message: Chunk) -> None:
        if not self._follow(peer, message.term):
            return
        engine = self.engine
        engine.hear_leader(peer, message.term, engine.commit)
        if self._installing:
            return
        term, index, entry_term = message.term, message.index, message.entry_term
        if guard.snapshot_is_held(self.journal, engine.commit, index, entry_term):
            self._drop_incoming()
            self._send_durable(peer, Ack(term, index, message.probe))
            return
        if not self.room.fits(message.size - message.offset):
            self._drop_incoming()
            self._send_durable(peer, Ack(term, 0, message.probe))
            return
        received = self._take_chunk(peer, message)
        if received or not message.data:  # A hole is reported once, to the next empty piece.
            self._send_durable(peer, ChunkReply(term, message.probe, index, received))
        if self._incoming and self._incoming.whole:
            self._installing = True
            self._incoming.close()
            self._host.install(self._incoming)

    def _take_chunk(self, peer: str, message: Chunk) -> int:
        if message.offset == 0 and message.data:
            self._drop_incoming()
            self._incoming_from = (peer, message.term)
            self._incoming = self.snapshots.incoming(
                message.index, message.entry_term, message.size
            )
        incoming = self._incoming
        if (
            incoming is None
            or self._incoming_from != (peer, message.term)
            or (incoming.index, incoming.size) != (message.index, message.size)
            or incoming.received != message.offset
        ):
            self._drop_incoming()  # A hole, or the rest of a transfer that was broken off.
            return 0
        incoming.add(message.data)
        return incoming.received

    def _drop_incoming(self) -> None:
        if self._incoming is not None:
            self._incoming.close()
            self._incoming = None

    # Proposals and the outbox.

    def _append_staged(self) -> None:
        staged, self._staged = self._staged, []
        for command, done in staged:
            if self.leading is None:
                self._pending_bytes -= len(command)
                done(0, None, NoLeader("this server does not lead any more"))
            else:
                waiting = (self.engine.term, done, len(command))
                self._pending[self.engine.append(command)] = waiting

    def _fail_pending(self) -> None:
        pending, self._pending = self._pending, {}
        for _, done, size in pending.values():
            self._pending_bytes -= size
            done(0, None, OutcomeUnknown("the leader changed before the write was confirmed"))

    def end(self) -> None:
        """Nothing will be answered any more."""
        staged, self._staged = self._staged, []
        for _, done in staged:
            done(0, None, NoLeader("this server stops"))
        if self.leading:
            self.leading.end()
        self._fail_pending()
        self._drop_incoming()

    def _send(self, peer: str, message: Message) -> None:
        self._host.send(peer, message)

    def _send_durable(self, peer: str, message: Message) -> None:
        self._outbox.append((peer, message))

    def _take_outbox(self) -> list[tuple[str, Message]]:
        outbox, self._outbox = self._outbox, []
        return outbox

    def _release(self, outbox: list[tuple[str, Message]]) -> None:
        for peer, message in outbox:
            if self.leading and isinstance(message, Append) and message.term == self.leading.term:
                self.leading.peers[peer].left(message)
            self._host.send(peer, message)
