"""Epochs: which cluster this is, which voters its log has now, and where that is written down."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mesh.codec import from_json, pack, to_json
from mesh.errors import Invalid
from mesh.raft.journal import make_folder, sync_folder

FORMAT = 1
VOTERS_MAX = 15
_RECORD = "epoch.json"


class Peer(msgspec.Struct, frozen=True):
    """A voter: its node id (a UUID), its name, and `ip:port` of its server port."""

    id: str
    name: str
    address: str


class Epoch(msgspec.Struct, frozen=True):
    """One epoch of the log: a fixed set of voters, and the state it starts from.

    `start_index` is the last index of the epoch before, and `previous` the digest of its record,
    so that records chain; 0 and empty in the first epoch.
    """

    cluster: str
    number: int
    voters: tuple[Peer, ...]
    start_index: int = 0
    previous: str = ""


class _File(msgspec.Struct):
    format: int
    digest: str
    epoch: Epoch


def cluster_id(ids: Sequence[str]) -> str:
    """The id of the cluster that these voters found: a digest of their ids in any order."""
    return hashlib.blake2b(pack(sorted(ids)), digest_size=16, person=b"mesh cluster").hexdigest()


def digest(epoch: Epoch) -> str:
    """What the record of the next epoch names this one by."""
    return hashlib.blake2b(to_json(epoch), digest_size=16).hexdigest()


class Epochs:
    """The epochs on disk: a folder for each, with its record, its journal and its snapshots."""

    def __init__(self, directory: str) -> None:
        self._top = Path(directory)

    def folder(self, number: int) -> str:
        """Where the journal and the snapshots of an epoch are."""
        return str(self._top / f"epoch-{number:08d}")

    def load(self) -> Epoch | None:
        """The newest epoch, or None. Raises Invalid, naming the file, when it is damaged."""
        make_folder(self._top)
        folders = sorted(path for path in self._top.glob("epoch-*") if (path / _RECORD).exists())
        if not folders:
            return None
        path = folders[-1] / _RECORD
        try:
            file = from_json(path.read_bytes(), _File)
        except Invalid as error:
            raise Invalid(f"{path}: damaged: {error.message}; restore this server") from error
        if file.format > FORMAT:
            raise Invalid(f"{path}: written by a newer mesh (format {file.format}); upgrade mesh")
        if file.digest != digest(file.epoch):
            raise Invalid(f"{path}: checksum does not match; restore this server")
        return file.epoch

    def save(self, epoch: Epoch) -> None:
        """Write the record durably. A crash leaves either the whole record or none."""
        folder = Path(self.folder(epoch.number))
        make_folder(folder)
        fresh = folder / f"{_RECORD}.new"
        with fresh.open("wb") as file:
            file.write(to_json(_File(FORMAT, digest(epoch), epoch), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(folder / _RECORD)
        sync_folder(folder)
