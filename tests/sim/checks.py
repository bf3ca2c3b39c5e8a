"""What must hold in every simulated world, checked as things happen."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import Protocol

import msgspec

from mesh.raft.engine import NO_OP, STOP_SIGN
from mesh.raft.epochs import Epoch
from mesh.raft.journal import Journal
from mesh.raft.replica import Replica


class Violation(AssertionError):
    """A rule was broken. `rule` says in a few words which."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


class State(msgspec.Struct):
    """The machine of a simulated server: a running hash of all commands, and some ballast."""

    index: int = 0
    hash: str = ""

    def apply(self, index: int, command: bytes) -> None:
        before = f"{self.hash} {index} ".encode()
        self.index, self.hash = index, hashlib.sha256(before + command).hexdigest()[:16]

    def pack(self) -> list[bytes]:
        """Pieces, long enough together to be sent in several messages."""
        return [f"{self.index} {self.hash} ".encode() * 10] * 4

    @classmethod
    def unpack(cls, data: bytes) -> State:
        index, state, *_ = data.decode(errors="replace").split(" ")
        if f"{index} {state} ".encode() * 40 != data or not index.isdecimal():
            raise Violation("state machine safety", "a snapshot was loaded that nobody made")
        return cls(int(index), state)


EPOCH = 1_000_000_000  # A ballot is a term with the number of its epoch in front.


class Seen(Protocol):
    """A server, as far as the rules look at it."""

    name: str
    alive: bool
    replica: Replica

    @property
    def voters(self) -> Collection[str]: ...

    @property
    def paused(self) -> bool: ...

    @property
    def journal(self) -> WatchedJournal: ...

    @property
    def state(self) -> State: ...


class Checks:
    """What the whole world knows: who led, what was committed, applied and acknowledged."""

    def __init__(self) -> None:
        self.leaders: dict[int, str] = {}
        self.entries: dict[tuple[int, int], bytes] = {}  # (index, term) to command.
        self.committed: dict[int, int] = {}  # Index to the term of the entry.
        self._committed_in: dict[int, int] = {}  # Index to the term of the leader.
        self.applied: dict[int, bytes] = {}
        self.states: dict[int, str] = {}
        self.acknowledged: dict[int, bytes] = {}
        self.newest = 0  # Highest index that a client was told of, by a write or by a read.
        self.reads = {"barrier": 0, "lease": 0}
        self.refused = 0  # Writes, for lack of room.
        self.epochs: dict[int, Epoch] = {}
        self._stops: dict[int, int] = {}  # Epoch to the index of its stop-sign.
        self._known_commit: dict[str, int] = {}

    @property
    def top(self) -> int:
        """Highest index known to be committed."""
        return len(self.committed) + 1

    # Logs.

    def appended(self, index: int, term: int, command: bytes) -> None:
        if self.entries.setdefault((index, term), command) != command:
            raise Violation("log matching", f"two commands at index {index} in term {term}")

    def deleted(self, journal: WatchedJournal, index: int, commit: int) -> None:
        """Entries from the index on are about to go."""
        if index <= commit:
            raise Violation("deletion below commit", f"entry {index}, committed up to {commit}")
        self._forgets_nothing(journal, index)

    def cleared(self, journal: WatchedJournal, index: int) -> None:
        """A snapshot of this index is about to replace the journal."""
        if journal.entries:
            self._forgets_nothing(journal, index + 1)

    def _forgets_nothing(self, journal: WatchedJournal, first: int) -> None:
        for index in range(max(first, journal.first_index), journal.last_index + 1):
            if self.committed.get(index) == journal.ballot_at(index):
                raise Violation("deletion below commit", f"entry {index} is committed elsewhere")

    # Leaders and commits.

    def look(self, server: Seen, everybody: Iterable[Seen]) -> None:
        """After anything happened on a server."""
        engine = server.replica.engine
        if engine.leads and self.leaders.get(_ballot(server)) != server.name:
            self._new_leader(server)
        self._commits(server, everybody)

    def started(self, server: Seen, before: WatchedJournal) -> None:
        """A server came up, and has what it took for durable in the life before."""
        self._known_commit[server.name] = 1
        journal = server.journal
        if journal.number != before.number:
            if journal.number < before.number:
                raise Violation("durability", f"{server.name} forgot epoch {before.number}")
            return
        term, vote = before._durable_term
        if journal.term < term or (journal.term == term and vote not in {"", journal.vote}):
            raise Violation("durability", f"{server.name} forgot term {term} or its vote")
        last = before.durable_index
        for index in range(max(before.first_index, journal.first_index) if last else 1, last + 1):
            if before.term_at(index) != journal.term_at(index) and index > journal.first_index:
                raise Violation("durability", f"{server.name} forgot entry {index}")

    def knows(self, name: str, index: int) -> None:
        """A server begins an epoch, or a life, with the machine at this index."""
        self._known_commit[name] = index

    def succeeds(self, epoch: Epoch) -> None:
        """A server applied the stop-sign that begins this epoch."""
        if self.epochs.setdefault(epoch.number, epoch) != epoch:
            raise Violation("succession", f"two epochs {epoch.number}")
        if epoch.start_index > self.top:
            raise Violation("succession", f"epoch {epoch.number} starts from an uncommitted entry")

    def _new_leader(self, server: Seen) -> None:
        term, journal = _ballot(server), server.journal
        if self.leaders.setdefault(term, server.name) != server.name:
            raise Violation("election safety", f"two leaders in term {term}")
        for index in range(max(2, journal.first_index), self.top + 1):
            earlier = self._committed_in[index] < term
            if earlier and journal.ballot_at(index) != self.committed[index]:
                raise Violation("leader completeness", f"{server.name} lacks entry {index}")

    def _commits(self, server: Seen, everybody: Iterable[Seen]) -> None:
        commit, journal = server.replica.engine.commit, server.journal
        known = self._known_commit[server.name]
        if commit <= known:
            return
        self._known_commit[server.name] = commit
        for index in range(max(known + 1, journal.first_index), commit + 1):
            if self._stops.get(journal.number, index) < index:
                self._known_commit[server.name] = index - 1
                return  # Nothing after a stop-sign counts.
            term = journal.ballot_at(index)
            if term is None:
                raise Violation("commit beyond the log", f"{server.name} commits entry {index}")
            if self._is_early(index, term, server):
                self._known_commit[server.name] = index - 1
                return
            if index <= self.top:
                if self.committed.get(index, term) != term:
                    raise Violation("state machine safety", f"two entries committed at {index}")
                continue
            if index != self.top + 1:
                raise Violation("commit beyond the log", f"{server.name} knows of entry {index}")
            self._on_a_majority(index, term, server, everybody)
            self.committed[index] = term
            self._committed_in[index] = _ballot(server)
            if journal.entries[index - journal.first_index][0].startswith(STOP_SIGN):
                self._stops[journal.number] = index

    def _is_early(self, index: int, term: int, server: Seen) -> bool:
        """The library commits the no-op of a single voter before it is durable. It says nothing."""
        alone = len(server.voters) == 1 and (index, term) not in self.entries
        return alone and not _holds(server.journal, server.journal.number, index, term)

    def _on_a_majority(self, index: int, term: int, first: Seen, everybody: Iterable[Seen]) -> None:
        servers = [server for server in everybody if server.name in first.voters]
        number = first.journal.number
        have = [server for server in servers if _holds(server.journal, number, index, term)]
        if len(have) * 2 <= len(servers):
            names = [server.name for server in have]
            raise Violation("commit without a majority", f"entry {index} is only on {names}")

    # Machines.

    def apply(self, index: int, command: bytes, state: State) -> None:
        if index <= state.index:
            raise Violation("state machine safety", f"entry {index} applied on state {state.index}")
        if self.applied.setdefault(index, command) != command:
            raise Violation("state machine safety", f"two commands applied at {index}")
        state.apply(index, command)
        self.look_at_state(state)

    def look_at_state(self, state: State) -> None:
        if self.states.setdefault(state.index, state.hash) != state.hash:
            raise Violation("state machine safety", f"two states at {state.index}")

    # Clients.

    def acknowledge(self, index: int, command: bytes, floor: int) -> None:
        """A write is answered; `floor` is what clients had been told when it was asked."""
        if index <= floor:
            raise Violation("write order", f"a write at {index} began after {floor} was known")
        if self.acknowledged.setdefault(index, command) != command:
            raise Violation("write order", f"two writes acknowledged at {index}")
        self.newest = max(self.newest, index)

    def read(self, kind: str, index: int, floor: int) -> None:
        """A read is answered with the state at the index."""
        if index < floor:
            raise Violation("stale read", f"{kind} read at {index}, but {floor} was known")
        if index > self.top:
            raise Violation("read from the future", f"at {index}, committed up to {self.top}")
        self.newest = max(self.newest, index)
        self.reads[kind] += 1

    def look_at_leases(self, everybody: Iterable[Seen]) -> None:
        """Whoever holds a lease now would answer reads now."""
        for server in everybody:
            if not server.alive or server.paused:
                continue
            leading, index = server.replica.leading, server.state.index
            if leading is not None and index < self.newest and leading.leased():
                detail = f"lease of {server.name} at {index}, but {self.newest} was known"
                raise Violation("stale read", detail)

    # The end.

    def look_at_end(self, servers: Iterable[Seen]) -> None:
        """After some seconds of health, with nothing written meanwhile."""
        for server in servers:
            if not server.alive:
                raise Violation("not healthy", f"{server.name} is down")
            if server.replica.engine.applied != self.top:
                raise Violation("not caught up", f"{server.name}, {self.top} is committed")
        if len({(server.state.index, server.state.hash) for server in servers}) != 1:
            raise Violation("state machine safety", "the states at the end differ")
        for index, command in self.acknowledged.items():
            if self.applied.get(index) != command:
                raise Violation("acknowledged write lost", f"at index {index}")


def _ballot(server: Seen) -> int:
    return server.journal.number * EPOCH + server.replica.engine.term


def _holds(journal: WatchedJournal, number: int, index: int, term: int) -> bool:
    if journal.number != number:
        return journal.number > number
    if journal.entries and index < journal.first_index:
        return True  # In its snapshot.
    if journal.ballot_at(index) != term:
        return False
    return index <= journal.durable_index or index == journal.first_index


class WatchedJournal(Journal):
    """A journal of production under the eyes of the checks; of which epoch, and where it starts.

    Where the voters never change the epoch is number 0.
    """

    def __init__(self, checks: Checks, number: int = 0, start: int = 0) -> None:
        super().__init__()
        self._checks, self.number, self._start = checks, number, start
        self.replica: Replica | None = None

    def ballot_at(self, index: int) -> int | None:
        """The term of the entry, with the epoch it was made in."""
        term = self.term_at(index)
        return None if term is None else self._ballot(index, term)

    def _ballot(self, index: int, term: int) -> int:
        return (self.number - (0 < index <= self._start)) * EPOCH + term

    def append(self, command: bytes, index: int, term: int) -> None:
        if command != NO_OP:  # Also the stand-in for the last entry of a snapshot.
            self._checks.appended(index, self._ballot(index, term), command)
        super().append(command, index, term)

    def delete_from(self, index: int) -> None:
        commit = self.replica.engine.commit if self.replica else 0
        self._checks.deleted(self, index, commit)
        super().delete_from(index)

    def clear(self, index: int, term: int, command: bytes) -> None:
        self._checks.cleared(self, index)
        super().clear(index, term, command)
