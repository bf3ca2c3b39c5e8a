"""The rules of consensus, each with a switch that takes it out of the code of production.

Production has no switches: these replace functions of it, for a test that shows that somebody
notices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import msgspec
import pytest

from mesh.errors import Invalid
from mesh.raft import elections, guard, journal, leading, rates, snapshots
from mesh.raft.engine import Engine
from mesh.raft.fetch import Fetch
from mesh.raft.guard import Ballot, Differs, Matches, Patience
from mesh.raft.journal import Batch, Journal, Record, Segments, unpack_record
from mesh.raft.leading import Leading
from mesh.raft.messages import Ack, Chunk, Message, Probe, Stale
from mesh.raft.progress import Progress
from mesh.raft.proposals import Proposals
from mesh.raft.replica import Replica
from tests.sim import disk

Patch = pytest.MonkeyPatch
Switch = Callable[[Patch], None]


def log_matching(patch: Patch) -> None:
    """What precedes the entries is not compared."""

    def receive(
        held: Journal, commit: int, previous: tuple[int, int], entries: Sequence[tuple[int, bytes]]
    ) -> Matches | Differs:
        if previous[0] > held.last_index or previous[0] < held.first_index:
            return original(held, commit, previous, entries)
        return original(held, commit, (previous[0], held.term_at(previous[0]) or 0), entries)

    original = guard.receive_entries
    patch.setattr(guard, "receive_entries", receive)


def first_conflict(patch: Patch) -> None:
    """All that follows `previous` is deleted, in conflict or not."""

    def receive(
        held: Journal, commit: int, previous: tuple[int, int], entries: Sequence[tuple[int, bytes]]
    ) -> Matches | Differs:
        index, term = previous
        if entries and held.first_index <= index < held.last_index and held.term_at(index) == term:
            held.delete_from(index + 1)
        return original(held, commit, previous, entries)

    original = guard.receive_entries
    patch.setattr(guard, "receive_entries", receive)


def below_snapshot(patch: Patch) -> None:
    """Entries below our snapshot count as a gap, not as matching."""

    def receive(
        held: Journal, commit: int, previous: tuple[int, int], entries: Sequence[tuple[int, bytes]]
    ) -> Matches | Differs:
        if previous[0] < held.first_index:
            return Differs(previous[0])
        return original(held, commit, previous, entries)

    original = guard.receive_entries
    patch.setattr(guard, "receive_entries", receive)


def stamped_acks(patch: Patch) -> None:
    """An answer of any term counts."""

    def receive(self: Replica, peer: str, message: Message) -> None:
        if isinstance(message, Ack) and self.leading and message.term < self.engine.term:
            message = msgspec.structs.replace(message, term=self.engine.term)
        original(self, peer, message)

    original = Replica.receive
    patch.setattr(Replica, "receive", receive)


def acks_within_the_log(patch: Patch) -> None:
    """An acknowledgement beyond the last entry counts."""

    def receive(self: Leading, peer: str, message: Any) -> None:
        if isinstance(message, Ack) and message.index > self._engine.journal.last_index:
            self.peers[peer].acknowledged(message.index)
            self._engine.hear_ack(peer, message.index, matches=True)
        original(self, peer, message)

    original = Leading.receive
    patch.setattr(Leading, "receive", receive)


def generations(patch: Patch) -> None:
    """Each reset is obeyed, whichever request it answers."""

    def reset(self: Progress, _generation: int, hint: int) -> bool:
        return original(self, self.generation, hint)

    original = Progress.reset
    patch.setattr(Progress, "reset", reset)


def snapshot_guard(patch: Patch) -> None:
    """A snapshot is installed although the log holds more."""
    patch.setattr(guard, "snapshot_is_held", lambda *_: False)


def no_commit_from_chunks(patch: Patch) -> None:
    """A piece of a snapshot moves the commit index as far as the log reaches."""

    def chunk(self: Replica, peer: str, message: Chunk) -> None:
        original(self, peer, message)
        if self.leading is None and message.term == self.engine.term:
            self.engine.hear_leader(peer, message.term, message.index)

    original = Replica._chunk
    patch.setattr(Replica, "_chunk", chunk)


def sync_before_send(patch: Patch) -> None:
    """Promises leave before they are on disk."""
    patch.setattr(Replica, "_send_durable", Replica._send)


def sync(patch: Patch) -> None:
    """Promises leave when they are written, not synced."""
    patch.setattr(disk.SIM_OS, "fdatasync", _ignore)


def durable_acks(patch: Patch) -> None:
    """The answer to a heartbeat acknowledges what is not on disk."""
    patch.setattr(
        Journal, "durable_index", property(lambda self: self.last_index, _ignore), raising=False
    )


def pre_vote(patch: Patch) -> None:
    """Whoever waited long enough becomes a candidate, unasked."""

    def tick(self: elections.Elections) -> None:
        if not self._engine.leads and self._clock.monotonic() >= self.deadline:
            self.postpone()
            self._campaign()

    patch.setattr(elections.Elections, "tick", tick)


def stickiness(patch: Patch) -> None:
    """Who hears a leader helps others into its place all the same."""
    patch.setattr(Patience, "keeps", lambda *_: False)


def stickiness_after_restart(patch: Patch) -> None:
    """Who restarted helps others at once."""

    def begin(self: Patience, least_seconds: float, now: float) -> None:
        original(self, least_seconds, now)
        self.end()

    original = Patience.__init__
    patch.setattr(Patience, "__init__", begin)


def votes_of_a_majority(patch: Patch) -> None:
    """Each vote counts twice."""

    def hear_vote(self: Engine, peer: str, term: int) -> None:
        original(self, peer, term)
        original(self, peer, term)

    original = Engine.hear_vote
    patch.setattr(Engine, "hear_vote", hear_vote)


def votes_per_voter(patch: Patch) -> None:
    """A vote that arrives again counts again."""

    def add(self: Ballot, subject: int, voter: str) -> bool:
        if subject != self._subject:
            return False
        self._yes.add(voter)
        return True

    patch.setattr(Ballot, "add", add)


def new_enough(patch: Patch) -> None:
    """The log of who asks whether it would win is not compared (a vote still is)."""
    patch.setattr(elections, "log_is_new_enough", lambda *_: True)


def quorum_check(patch: Patch) -> None:
    """A leader goes on although no majority answers."""

    def begin(self: Engine, *arguments: Any) -> None:
        changed = list(arguments)
        changed[4] = (*changed[4][:2], 1e9)
        original(self, *changed)

    original = Engine.__init__
    patch.setattr(Engine, "__init__", begin)


def read_round(patch: Patch) -> None:
    """A read is not confirmed by a majority."""
    patch.setattr(Leading, "_majority_round", lambda self: self._round + 1)


def own_term_entry(patch: Patch) -> None:
    """Reads are answered before an entry of the leader's own term is committed."""

    def barrier(self: Leading, done: Any) -> None:
        self._barriers.append((self._round + 1, self._engine.commit, done))
        self._round_wanted = True

    patch.setattr(Leading, "barrier", barrier)
    patch.setattr(Leading, "in_charge", property(lambda _: True))


def lease(patch: Patch) -> None:
    """A leader takes its lease for endless."""
    patch.setattr(leading, "LEASE_PART", 1e9)


def lease_rates(patch: Patch) -> None:
    """Any clock is good enough for a lease."""
    patch.setattr(rates.ClockRate, "steady", lambda *_: True)


def lease_after_hand_over(patch: Patch) -> None:
    """A leader keeps its lease after it handed leadership over."""
    patch.setattr(Leading, "lease_allowed", property(lambda _: True, _ignore), raising=False)


def commit_clamp(patch: Patch) -> None:
    """The leader's commit index counts beyond what was compared."""
    patch.setattr(
        guard, "clamp_commit", lambda _verdict, leader_commit, commit: max(leader_commit, commit)
    )


def initial_commit(patch: Patch) -> None:
    """After a restart the whole log counts as committed."""

    def begin(self: Engine, *arguments: Any) -> None:
        original(self, *arguments)
        self._set("raftCommitIndex", max(self.commit, self.journal.last_index))

    original = Engine.__init__
    patch.setattr(Engine, "__init__", begin)


def stale_answers(patch: Patch) -> None:
    """A stale leader or candidate is not told the higher term."""

    def send(self: Replica, peer: str, message: Message) -> None:
        if not isinstance(message, Stale):
            self._outbox.append((peer, message))

    patch.setattr(Replica, "_send_durable", send)


def numbered_chunks(patch: Patch) -> None:
    """Pieces of a snapshot are put together as they come."""

    def take(self: Fetch, peer: str, message: Chunk) -> int:
        held = self.incoming.received if self.incoming else 0
        if message.offset:
            message = msgspec.structs.replace(message, offset=held)
        return original(self, peer, message)

    original = Fetch.take_chunk
    patch.setattr(Fetch, "take_chunk", take)


def snapshot_verification(patch: Patch) -> None:
    """A snapshot is installed without a look at its checksum."""

    def verify(path: Any) -> snapshots.Stored:
        with closing(snapshots._File(path)) as file:
            _, _, index, term = snapshots._HEADER.unpack(file.read(snapshots._HEADER.size))
            while file.piece():
                pass
            file.read(snapshots._DIGEST_BYTES)
            return snapshots.Stored(path, index, term, file.position)

    patch.setattr(snapshots, "verify", verify)


def torn_tail(patch: Patch) -> None:
    """A torn tail stays in the journal, and records are written after it."""

    def resume(self: Segments, path: Any, size: int, *, torn: bool) -> None:
        original(self, path, size, torn=False)

    original = Segments._resume
    patch.setattr(Segments, "_resume", resume)


def sealed_damage(patch: Patch) -> None:
    """Damage in a sealed segment is skipped, as if it were a torn tail."""

    def read(self: Segments, number: int, *, sealed: bool) -> Any:
        data, offset = self._path(number).read_bytes(), len(journal.MAGIC)
        while sealed and offset < len(data):
            try:
                record, offset = unpack_record(data, offset)
            except Invalid:
                return
            yield record
        if not sealed:
            yield from original(self, number, sealed=False)

    def append(self: Journal, record: Record) -> None:
        if record.kind != journal.ENTRY or record.index <= self.last_index + 1:
            replay(self, record)

    original, replay = Segments._read, Journal._replay_one
    patch.setattr(Segments, "_read", read)
    patch.setattr(Journal, "_replay_one", append)


def folder_sync(patch: Patch) -> None:
    """New files are synced, but not their names."""
    patch.setattr(journal, "sync_folder", _ignore)
    patch.setattr(snapshots, "sync_folder", _ignore)


def sync_at_start(patch: Patch) -> None:
    """What a killed process left to the kernel is relied on as it is."""

    def resume(self: Segments, path: Any, size: int, *, torn: bool) -> None:
        with pytest.MonkeyPatch.context() as inner:
            if not torn:
                inner.setattr(disk.SIM_OS, "fsync", _ignore)
            original(self, path, size, torn=torn)

    original = Segments._resume
    patch.setattr(Segments, "_resume", resume)


def stored_votes(patch: Patch) -> None:
    """Term and vote are kept in memory only."""

    def set_term(self: Journal, term: int, vote: str) -> None:
        self.term, self.vote = term, vote

    patch.setattr(Journal, "set_term", set_term)


def term_in_each_segment(patch: Patch) -> None:
    """A new segment does not repeat term and vote, and old segments go."""
    patch.setattr(Segments, "_beginning", lambda _: journal.MAGIC)


def answers_at_the_end(patch: Patch) -> None:
    """Who waits for a leader that steps down is not told."""
    patch.setattr(Proposals, "lose_pending", lambda _: None)
    patch.setattr(Leading, "end", lambda _: None)


def repeated_rounds(patch: Patch) -> None:
    """The round of a read goes out once, and is lost with its connection."""

    def send(self: Leading, *sends: Any) -> None:
        first = self._round_wanted
        with pytest.MonkeyPatch.context() as inner:
            if not first:
                inner.setattr(leading, "Probe", lambda number, now: Probe(number - 1, now))
            original(self, *sends)

    original = Leading.send
    patch.setattr(Leading, "send", send)


def failed_sync(patch: Patch) -> None:
    """A sync that failed is tried again."""

    def store(self: Segments, batch: Batch) -> None:
        try:
            original(self, batch)
        except OSError:
            disk.SIM_OS.fdatasync(self._file)
            self._term, self._vote = batch.term, batch.vote
            self._last[self._number] = max(self._last.get(self._number, 0), batch.last_index)

    original = Segments.store
    patch.setattr(Segments, "store", store)


def _ignore(*_: object) -> None:
    """Do nothing."""
