"""What a voter remembers after a restart: the newest snapshot, and the journal that follows it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mesh.errors import Invalid
from mesh.raft.engine import NO_OP
from mesh.raft.journal import Journal, Segments
from mesh.raft.snapshots import Snapshots, Stored


class Origin(msgspec.Struct, frozen=True):
    """Where an epoch comes from: after the entry with this index and term of the one before.

    `fresh` says that this server has no past in it: then there must be no log yet. `carried` says
    that the machine holds the state the epoch starts from.
    """

    index: int = 0
    term: int = 0
    fresh: bool = False
    carried: bool = False


def recover(
    folder: str, journal: Journal, disk: tuple[Segments, Snapshots], origin: Origin
) -> Stored | None:
    """Bring the empty journal to what the disk holds; the newest snapshot, if there is one.

    Raises Invalid, naming the file or folder, when the disk is damaged or its parts do not fit.
    """
    segments, snapshots = disk
    snapshot = snapshots.open()
    where = Path(folder, "journal")
    try:
        journal.replay(segments.open(fresh=origin.fresh))
    except Invalid as error:
        named = error.message if str(where) in error.message else f"{where}: {error.message}"
        raise Invalid(named) from error
    if origin.fresh:
        if snapshot is not None or _has_promised(journal, origin):
            raise Invalid(f"{folder}: has a log without a record of its epoch; restore it")
        _begin(journal, origin)
    known = snapshot.index if snapshot else max(1, origin.index)
    if journal.entries and journal.first_index > known:
        raise Invalid(
            f"{where}: begins at entry {journal.first_index}, but the newest snapshot ends "
            f"at {known}; restore this server"
        )
    if snapshot is not None and journal.term_at(snapshot.index) != snapshot.term:
        journal.clear(snapshot.index, snapshot.term, NO_OP)
    return snapshot


def _has_promised(journal: Journal, origin: Origin) -> bool:
    beyond = journal.last_index > max(1, origin.index) or journal.term > origin.term
    return beyond or bool(journal.vote)


def _begin(journal: Journal, origin: Origin) -> None:
    if origin.carried:
        journal.clear(origin.index, origin.term, NO_OP)
        journal.set_term(origin.term, "")
    elif journal.last_index > 1:  # Left by a start that was cut short.
        journal.clear(1, 0, NO_OP)
