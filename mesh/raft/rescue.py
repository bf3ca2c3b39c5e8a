"""Rescue: a new epoch written by hand when a majority of the voters is lost for good."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from mesh.errors import Conflict, Invalid, NotFound
from mesh.raft.engine import NO_OP, STOP_SIGN
from mesh.raft.epochs import Epoch, Epochs, Peer, Place, check_voters, succeeding
from mesh.raft.journal import Journal, Segments
from mesh.raft.past import Past
from mesh.raft.snapshots import Snapshots


class Survivor(msgspec.Struct, frozen=True):
    """What the disk of one server holds: its epoch, and the end of the log it can vouch for.

    Of several survivors the best is the one with the greatest (epoch, term, index).
    """

    epoch: Epoch
    term: int
    index: int
    snapshot_index: int


def survey(directory: str) -> Survivor:
    """Read what a stopped server holds; changes nothing.

    Raises NotFound when the directory holds no cluster's log, Invalid when it is damaged or when
    this server never got the state its epoch starts from.
    """
    epochs = Epochs(directory)
    place = epochs.load()
    if place is None:
        raise NotFound(f"{directory}: holds no log of a cluster")
    epoch = place.epoch
    journal = Past(epochs).journal(epoch.number)
    index, term = _end(journal)
    if index < epoch.start_index:
        raise Invalid(
            f"{directory}: this server never got the state that epoch {epoch.number} starts from; "
            "recover from another server"
        )
    snapshot = Snapshots(str(Path(epochs.folder(epoch.number), "snapshots"))).open()
    return Survivor(epoch, term, index, snapshot.index if snapshot else epoch.start_index)


def rescue(directory: str, me: Peer, keep: Sequence[str], reason: str) -> Epoch:
    """Write the next epoch durably: this server and those kept are its voters.

    Of `me` only the id counts where this server was a voter; `keep` are ids or names of other
    voters that are still there. The epoch starts from all this server's log holds, committed or
    not. Raises as `survey` does, Invalid for a new voter without name or address, NotFound for
    somebody who was no voter, Conflict when there is a log of the next epoch already.
    """
    survivor = survey(directory)
    known = survivor.epoch.voters
    myself = next((voter for voter in known if voter.id == me.id), me)
    if not (myself.name and myself.address):
        raise Invalid("this server had no vote: give its name and the address of its server port")
    chosen = [myself, *(_find(known, one) for one in keep)]
    unique: dict[str, Peer] = {voter.id: voter for voter in chosen}
    wanted = Epoch("", 0, check_voters(list(unique.values())), reason=reason, recovered=True)
    epoch = succeeding(survivor.epoch, wanted, survivor.index, survivor.term)
    epochs = Epochs(directory)
    segments, journal = Segments(str(Path(epochs.folder(epoch.number), "journal"))), Journal()
    journal.replay(segments.open(fresh=True))
    if journal.last_index > 1:
        raise Conflict(f"{epochs.folder(epoch.number)}: holds a log already; move it away first")
    journal.clear(survivor.index, survivor.term, NO_OP)
    journal.set_term(survivor.term, "")
    segments.store(journal.take())
    segments.close()
    epochs.save(Place(epoch))
    return epoch


def _end(journal: Journal) -> tuple[int, int]:
    """The last entry that counts: the stop-sign, if there is one, ends the epoch."""
    for data, index, term in journal.entries:
        if data[:1] == STOP_SIGN:
            return index, term
    return journal.last_index, journal.last_term


def _find(voters: Sequence[Peer], wanted: str) -> Peer:
    for voter in voters:
        if wanted in (voter.id, voter.name):
            return voter
    names = ", ".join(sorted(voter.name for voter in voters))
    raise NotFound(f"{wanted} is no voter of this epoch; those are {names}")
