"""What a voter remembers after a restart: the newest snapshot, and the journal that follows it."""

from __future__ import annotations

from pathlib import Path

from mesh.errors import Invalid
from mesh.raft.engine import NO_OP
from mesh.raft.journal import Journal, Segments
from mesh.raft.snapshots import Snapshot, Snapshots


def recover(
    folder: str, journal: Journal, disk: tuple[Segments, Snapshots], *, fresh: bool
) -> Snapshot | None:
    """Bring the empty journal to what the disk holds; the newest snapshot, if there is one.

    `fresh` says that this epoch has no past on this node: then there must be no log yet. Raises
    Invalid, naming the file or folder, when the disk is damaged or its parts do not fit.
    """
    segments, snapshots = disk
    snapshot = snapshots.open()
    where = Path(folder, "journal")
    try:
        journal.replay(segments.open(fresh=fresh))
    except Invalid as error:
        named = error.message if str(where) in error.message else f"{where}: {error.message}"
        raise Invalid(named) from error
    if fresh and (snapshot is not None or journal.term or journal.last_index > 1):
        raise Invalid(f"{folder}: has a log without a record of its epoch; restore it")
    known = snapshot.index if snapshot else 1
    if journal.entries and journal.first_index > known:
        raise Invalid(
            f"{where}: begins at entry {journal.first_index}, but the newest snapshot ends "
            f"at {known}; restore this server"
        )
    if snapshot is not None and journal.term_at(snapshot.index) != snapshot.term:
        journal.clear(snapshot.index, snapshot.term, NO_OP)
    return snapshot
