"""What a server remembers after a restart: the newest snapshot, and the journal that follows it."""

from __future__ import annotations

from pathlib import Path

from mesh.errors import Invalid
from mesh.raft.engine import NO_OP
from mesh.raft.epochs import Epoch
from mesh.raft.journal import Journal, Segments
from mesh.raft.snapshots import Snapshots, Stored


def recover(
    folder: str,
    journal: Journal,
    disk: tuple[Segments, Snapshots],
    epoch: Epoch,
    *,
    fresh: bool,
    carried: bool,
) -> Stored | None:
    """Bring the empty journal to what the disk holds; the newest snapshot, if there is one.

    `fresh` and `carried` are those of `Driver.open`. Raises Invalid, naming the file or folder,
    when the disk is damaged or its parts do not fit.
    """
    segments, snapshots = disk
    snapshot = snapshots.open()
    where = Path(folder, "journal")
    try:
        journal.replay(segments.open(fresh=fresh))
    except Invalid as error:
        named = error.message if str(where) in error.message else f"{where}: {error.message}"
        raise Invalid(named) from error
    if fresh:
        _begin(folder, journal, snapshot, epoch, carried=carried)
    known = snapshot.index if snapshot else max(1, epoch.start_index)
    if journal.entries and journal.first_index > known:
        raise Invalid(
            f"{where}: begins at entry {journal.first_index}, but the newest snapshot ends "
            f"at {known}; restore this server"
        )
    if snapshot is not None and journal.term_at(snapshot.index) != snapshot.term:
        journal.clear(snapshot.index, snapshot.term, NO_OP)
    return snapshot


def _begin(
    folder: str, journal: Journal, snapshot: Stored | None, epoch: Epoch, *, carried: bool
) -> None:
    promised = journal.vote or journal.term > epoch.start_term
    if snapshot is not None or promised or journal.last_index > max(1, epoch.start_index):
        raise Invalid(f"{folder}: has a log without a record of its epoch; restore it")
    if carried:
        journal.clear(epoch.start_index, epoch.start_term, NO_OP)
        journal.set_term(epoch.start_term, "")
    elif journal.last_index > 1:  # Left by a start that was cut short.
        journal.clear(1, 0, NO_OP)
