"""The rules a voter keeps on receiving, where the library's own would lose data or the leader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from mesh.errors import Invalid
from mesh.raft.journal import Journal

KINDS = (0, 1, 2)  # First byte of the entries we make: a command, a no-op, a stop-sign.
COMMAND_BYTES_MAX = 3 << 19  # 1.5 MiB; more than a batch, which is never split.


class Tripwire(Exception):
    """A rule that keeps acknowledged writes safe was about to be broken. The process must end."""


class Matches(msgspec.Struct, frozen=True):
    """Our log now equals the leader's up to this index."""

    index: int


class Differs(msgspec.Struct, frozen=True):
    """Our log does not fit; the leader should send from this index on."""

    hint: int


def check_entries(entries: Iterable[tuple[int, bytes]]) -> None:
    """Raise Invalid unless every entry is one that a leader of ours could have made."""
    for _, command in entries:
        if not command or command[0] not in KINDS or len(command) > COMMAND_BYTES_MAX + 1:
            raise Invalid("an entry of unknown kind or over the limit")


def receive_entries(
    journal: Journal,
    commit: int,
    previous: tuple[int, int],
    entries: Sequence[tuple[int, bytes]],
) -> Matches | Differs:
    """Bring the journal in line with a leader's entries after `previous` (index, term).

    Skips what is held with the same term and deletes only from the first conflict. What lies
    below our first entry is in our snapshot, so it is committed and matches. Raises Tripwire
    rather than delete at or below the commit index.
    """
    index, term = previous
    end = index + len(entries)
    skip = max(0, min(journal.first_index - index, len(entries)))
    if index + skip < journal.first_index:
        return Matches(end)
    if not skip and journal.term_at(index) != term:
        return Differs(_hint(journal, commit, index))
    for place, (entry_term, command) in enumerate(entries[skip:], start=index + skip + 1):
        held = journal.term_at(place)
        if held == entry_term:
            continue
        if held is not None:
            if place <= commit:
                raise Tripwire(f"entry {place} is committed (up to {commit}) but would be deleted")
            journal.delete_from(place)
        journal.append(command, place, entry_term)
    return Matches(end)


def _hint(journal: Journal, commit: int, index: int) -> int:
    """First index of our conflicting term, above commit; after a gap, the one after our last."""
    if index > journal.last_index:
        return journal.last_index + 1
    term = journal.term_at(index)
    while index - 1 > commit and journal.term_at(index - 1) == term:
        index -= 1
    if index <= commit:
        raise Tripwire(f"entry {index} is committed (up to {commit}) but a leader has another")
    return index


def clamp_commit(verdict: Matches | Differs, leader_commit: int, commit: int) -> int:
    """The commit index a message may bring: never beyond what was compared."""
    if isinstance(verdict, Differs):
        return commit
    return max(commit, min(leader_commit, verdict.index))


def log_is_new_enough(journal: Journal, last_index: int, last_term: int) -> bool:
    """Whether a candidate whose log ends so may lead us."""
    return (last_term, last_index) >= (journal.last_term, journal.last_index)


def snapshot_is_held(journal: Journal, commit: int, index: int, term: int) -> bool:
    """Whether a snapshot brings nothing: it must not be installed over a newer log then."""
    return index <= commit or journal.term_at(index) == term


class Ballot:
    """Counts who said yes to one question, each voter once."""

    def __init__(self, voters: int) -> None:
        self._voters = voters
        self._subject = -1
        self._yes: set[str] = set()

    def ask(self, subject: int) -> None:
        """Begin a new count about this subject; answers to others are ignored."""
        self._subject = subject
        self._yes.clear()

    def add(self, subject: int, voter: str) -> bool:
        """Whether this is a new yes to the present question."""
        if subject != self._subject or voter in self._yes:
            return False
        self._yes.add(voter)
        return True

    @property
    def won(self) -> bool:
        """Whether these and the one who asks are a majority."""
        return (len(self._yes) + 1) * 2 > self._voters


class Patience:
    """Stickiness: while a leader is heard nobody else is helped into its place."""

    def __init__(self, least_seconds: float, now: float) -> None:
        self._least = least_seconds
        self._quiet_until = now + least_seconds  # After a restart a leader may have heard us.
        self.heard = float("-inf")  # When the leader was heard last, by the monotonic clock.

    def hear(self, now: float) -> None:
        """The leader was heard."""
        self.heard = now
        self._quiet_until = now + self._least

    def end(self) -> None:
        """There never was a leader that could count on us."""
        self._quiet_until = float("-inf")

    def keeps(self, now: float) -> bool:
        """Whether a leader may still count on this node."""
        return now < self._quiet_until
