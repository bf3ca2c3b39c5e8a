"""Epochs: which cluster this is, which voters its log has now, and where that is written down.

A change of membership is the last entry of an epoch, its stop-sign, and starts the next epoch
(Lamport, Malkhi, Zhou, "Reconfiguring a State Machine", 2010). Why no acknowledged write is lost:
a value committed in epoch N lies before N's stop-sign in N's log, hence is in the state from which
epoch N+1 starts; at most one stop-sign of an epoch is ever applied, because nothing after it is;
and voters of N+1 vote only once they hold that state.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mesh.codec import from_json, pack, to_json
from mesh.errors import Invalid
from mesh.raft.journal import make_folder, save_durably, sync_folder

FORMAT = 1
VOTERS_MAX = 15
CHAIN_MAX = 64  # Records kept for those who slept; who slept longer believes the oldest as it is.
_RECORD = "epoch.json"


class Peer(msgspec.Struct, frozen=True):
    """A server: its node id (a UUID), its name, and `ip:port` of its server port."""

    id: str
    name: str
    address: str


class Epoch(msgspec.Struct, frozen=True):
    """One epoch of the log: a fixed set of voters, and the state it starts from.

    It starts after the entry (`start_index`, `start_term`) of the epoch before, whose record has
    the digest `previous`; all are 0 and empty in the first epoch. `barred` are ids of servers that
    an operator removed and that must not become voters by themselves. `recovered` says that an
    operator wrote it by hand after a majority was lost.
    """

    cluster: str
    number: int
    voters: tuple[Peer, ...]
    start_index: int = 0
    start_term: int = 0
    previous: str = ""
    barred: tuple[str, ...] = ()
    reason: str = ""
    recovered: bool = False

    @property
    def voter_ids(self) -> list[str]:
        """Ids of the voters, ordered."""
        return sorted(voter.id for voter in self.voters)


class _File(msgspec.Struct):
    format: int
    digest: str
    epoch: Epoch
    observes: bool = False


class Place(msgspec.Struct, frozen=True):
    """The epoch a server is in. One that `observes` must not vote in it.

    A voter observes when it may have forgotten what it promised in the epoch, because its disk was
    lost: only the next epoch, in which nothing was promised yet, gives it its vote back.
    """

    epoch: Epoch
    observes: bool = False


def cluster_id(ids: Sequence[str]) -> str:
    """The id of the cluster that these voters found: a digest of their ids in any order."""
    return hashlib.blake2b(pack(sorted(ids)), digest_size=16, person=b"mesh cluster").hexdigest()


def digest(epoch: Epoch) -> str:
    """What the record of the next epoch names this one by."""
    return hashlib.blake2b(to_json(epoch), digest_size=16).hexdigest()


def check_voters(voters: Sequence[Peer]) -> tuple[Peer, ...]:
    """The voters as a record holds them, ordered by id. Raises Invalid for an impossible set."""
    ids = {voter.id for voter in voters}
    if not 1 <= len(ids) == len(voters) <= VOTERS_MAX:
        raise Invalid(f"a cluster has 1 to {VOTERS_MAX} distinct voters, not {len(voters)}")
    return tuple(sorted(voters, key=lambda voter: voter.id))


def founded(voters: Sequence[Peer]) -> Epoch:
    """The first epoch of the cluster that these voters found. Raises Invalid."""
    ordered = check_voters(voters)
    return Epoch(cluster_id([voter.id for voter in ordered]), 1, ordered)


def succeeding(epoch: Epoch, stop: Epoch, index: int, term: int) -> Epoch:
    """The epoch that the stop-sign at this index and term of `epoch` begins."""
    return msgspec.structs.replace(
        stop,
        cluster=epoch.cluster,
        number=epoch.number + 1,
        start_index=index,
        start_term=term,
        previous=digest(epoch),
    )


class Epochs:
    """The epochs on disk: a folder for each, with its record, its journal and its snapshots."""

    def __init__(self, directory: str) -> None:
        self._top = Path(directory)

    def folder(self, number: int) -> str:
        """Where the journal and the snapshots of an epoch are."""
        return str(self._top / f"epoch-{number:08d}")

    def load(self) -> Place | None:
        """The newest epoch, or None. Raises Invalid, naming the file, when it is damaged."""
        make_folder(self._top)
        folders = self._recorded()
        if not folders:
            return None
        sync_folder(folders[-1])  # A killed process may have left the name in the kernel only.
        return self._read(folders[-1])

    def since(self, number: int) -> list[Epoch]:
        """The records of later epochs, oldest first. Raises Invalid when one is damaged."""
        return [self._read(folder).epoch for folder in self._recorded() if _number(folder) > number]

    def save(self, place: Place) -> None:
        """Write the record durably. A crash leaves either the whole record or none."""
        epoch = place.epoch
        folder = Path(self.folder(epoch.number))
        make_folder(folder)
        record = _File(FORMAT, digest(epoch), epoch, place.observes)
        save_durably(folder / _RECORD, to_json(record, indent=2) + b"\n")

    def forget_before(self, number: int) -> None:
        """Remove journals and snapshots of earlier epochs, and the oldest of very many records."""
        older = [folder for folder in self._recorded() if _number(folder) < number]
        for folder in older:
            for part in (folder / "journal", folder / "snapshots"):
                if part.exists():
                    shutil.rmtree(part)
        for folder in older[:-CHAIN_MAX]:
            shutil.rmtree(folder)
        if older:
            sync_folder(self._top)

    def _recorded(self) -> list[Path]:
        return sorted(path for path in self._top.glob("epoch-*") if (path / _RECORD).exists())

    def _read(self, folder: Path) -> Place:
        path = folder / _RECORD
        try:
            file = from_json(path.read_bytes(), _File)
        except Invalid as error:
            raise Invalid(f"{path}: damaged: {error.message}; restore this server") from error
        if file.format > FORMAT:
            raise Invalid(f"{path}: written by a newer mesh (format {file.format}); upgrade mesh")
        if file.digest != digest(file.epoch):
            raise Invalid(f"{path}: checksum does not match; restore this server")
        return Place(file.epoch, file.observes)


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])
