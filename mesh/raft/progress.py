"""What a leader knows of each other voter: what it has, what is on the way, when it answered."""

from __future__ import annotations

from collections import deque

from mesh.raft.journal import Journal
from mesh.raft.messages import CHUNK_BYTES, Append, Chunk, Probe
from mesh.raft.rates import ClockRate
from mesh.raft.snapshots import Reader, Stored

BATCH_BYTES = 1 << 20  # Entries of one message; one entry may be larger and goes alone.
FLIGHT_BYTES_MAX = 8 << 20  # Unanswered entries per voter.
CHUNKS_AHEAD = 4  # Unanswered pieces of a snapshot per voter.


class Progress:
    """One voter, seen by the leader, in one term.

    `match` is what it acknowledged, `sent` the last index given to the outbox, `wired` the last
    one that left. A generation ends with each reset and with each connection.
    """

    def __init__(self, last_index: int, *, connected: bool) -> None:
        self.connected = connected
        self.generation = 0
        self.match = 0
        self.sent = self.wired = last_index
        self.commit_told = 0
        self.last_send = float("-inf")
        self.heard = Probe(0, float("-inf"))
        self.rate = ClockRate()
        self._flight: deque[tuple[int, int]] = deque()
        self._flight_bytes = 0
        self._reader: Reader | None = None
        self._offset = 0
        self._received = 0

    @property
    def streaming(self) -> bool:
        """Whether a snapshot is on its way to it."""
        return self._reader is not None

    def reconnected(self, *, connected: bool) -> None:
        """A connection came or went: what was sent on the old one may be lost."""
        self.connected = connected
        self._restart(max(self.match, min(self.sent, self.wired)))
        self.last_send = float("-inf")

    def reset(self, generation: int, hint: int) -> bool:
        """It asked to begin again at `hint`. Obeyed once per generation."""
        if generation != self.generation:
            return False
        # What it acknowledged in this term it has, unless it came back with an empty disk.
        held = max(0, hint - 1)
        self.match = min(self.match, held)
        self._restart(min(held, self.sent))
        return True

    def answered(self, probe: Probe) -> None:
        """It answered a message that carried this probe."""
        if probe.round >= self.heard.round and probe.sent >= self.heard.sent:
            self.heard = probe

    def acknowledged(self, index: int) -> None:
        """Its durable log equals ours up to the index."""
        self.match = max(self.match, index)
        self.sent, self.wired = max(self.sent, index), max(self.wired, index)
        while self._flight and self._flight[0][0] <= index:
            self._flight_bytes -= self._flight.popleft()[1]
        if self._reader is not None and index >= self._reader.index:
            self.close()

    def next_entries(self, journal: Journal, term: int, probe: Probe, commit: int) -> Append | None:
        """The next entries for it, or None when it has all, must wait, or needs a snapshot."""
        if self.streaming or self.needs_snapshot(journal) or self.sent >= journal.last_index:
            return None
        if self._flight_bytes >= FLIGHT_BYTES_MAX:
            return None
        entries = journal.slice(self.sent + 1, BATCH_BYTES)
        message = self._append(journal, self.sent, term, probe, commit)
        message.entries.extend((entry[2], entry[0]) for entry in entries)
        size = sum(len(entry[0]) for entry in entries)
        self.sent = entries[-1][1]
        self._flight.append((self.sent, size))
        self._flight_bytes += size
        return message

    def heartbeat(self, journal: Journal, term: int, probe: Probe, commit: int) -> Append:
        """A message without entries, on what has already left; it may go before any sync."""
        return self._append(journal, self.wired, term, probe, commit)

    def left(self, message: Append) -> None:
        """The message left this node."""
        if message.generation == self.generation:
            self.wired = max(self.wired, message.prev_index + len(message.entries))

    def needs_snapshot(self, journal: Journal) -> bool:
        """Whether what it lacks is no longer in the log."""
        return self.sent < journal.first_index

    def stream(self, stored: Stored) -> None:
        """Begin to send this snapshot."""
        self.close()
        self._reader = Reader(stored)
        self._offset = self._received = 0

    def next_chunk(self, term: int, probe: Probe, *, idle: bool) -> Chunk | None:
        """The next piece of the snapshot. When idle, an empty one in case an answer was lost."""
        reader = self._reader
        if reader is None:
            return None
        ahead = self._offset - self._received
        count = CHUNK_BYTES if ahead < CHUNKS_AHEAD * CHUNK_BYTES else 0
        data = reader.read(self._offset, count)
        if not data and not idle:
            return None
        chunk = Chunk(term, probe, reader.index, reader.term, reader.size, self._offset, data)
        self._offset += len(data)
        return chunk

    def chunk_answered(self, index: int, received: int) -> None:
        """It holds this many bytes of the snapshot; none means to begin again."""
        if self._reader is None or index != self._reader.index:
            return
        if received == 0:
            self._offset = self._received = 0
        elif received <= self._offset:
            self._received = max(self._received, received)

    def close(self) -> None:
        """End the snapshot transfer, if there is one."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _restart(self, index: int) -> None:
        self.close()
        self.generation += 1
        self.sent = self.wired = index
        self._flight.clear()
        self._flight_bytes = 0

    def _append(
        self, journal: Journal, previous: int, term: int, probe: Probe, commit: int
    ) -> Append:
        previous_term = None if self.streaming else journal.term_at(previous)
        if previous_term is None:
            return Append(term, self.generation, probe, 0, 0, 0, [])
        return Append(term, self.generation, probe, previous, previous_term, commit, [])
