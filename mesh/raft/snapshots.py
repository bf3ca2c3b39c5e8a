"""Snapshots of the state machine on disk: checksummed, durable before anybody relies on them."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

import msgspec

from mesh.errors import Invalid
from mesh.raft.disk import discarding
from mesh.raft.journal import make_folder, sync_folder

_HEADER = struct.Struct(">8sQQQ16s")  # Magic, index, term, length of the body, digest.
_MAGIC = b"MESHSNP1"
_NUMBER_MAX = (1 << 63) - 1
SNAPSHOT_BYTES_MAX = 8 << 30  # A whole file, as a leader may announce it.


class Snapshot(msgspec.Struct, frozen=True):
    """What a snapshot file holds: the state after the entry with this index and term."""

    index: int
    term: int
    data: bytes


class Stored(msgspec.Struct, frozen=True):
    """A snapshot on disk. `size` is the whole file in bytes."""

    path: Path
    index: int
    term: int
    size: int


def pack_snapshot(snapshot: Snapshot) -> tuple[bytes, bytes]:
    """The header and the body of the file."""
    index, term, data = snapshot.index, snapshot.term, snapshot.data
    header = _HEADER.pack(_MAGIC, index, term, len(data), _digest(index, term, data))
    return header, data


def unpack_snapshot(data: bytes) -> Snapshot:
    """Read a whole file. Raises Invalid when a byte of it is not as it was written."""
    if len(data) < _HEADER.size:
        raise Invalid("snapshot is cut short")
    magic, index, term, length, digest = _HEADER.unpack_from(data)
    if magic != _MAGIC or max(index, term) > _NUMBER_MAX or length != len(data) - _HEADER.size:
        raise Invalid("snapshot header does not fit the file")
    body = data[_HEADER.size :]
    if _digest(index, term, body) != digest:
        raise Invalid("snapshot checksum does not match")
    return Snapshot(index, term, body)


class Snapshots:
    """The snapshot files of one epoch; only the newest is kept.

    All but `latest` and `incoming` block on the disk: call them in a worker thread, one at a time.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self.latest: Stored | None = None

    def open(self) -> Snapshot | None:
        """The newest snapshot, or None. Raises Invalid, naming the file, when it is damaged."""
        make_folder(self._folder)
        files = sorted(self._folder.glob("*.snapshot"))
        if not files:
            return None
        data = files[-1].read_bytes()
        try:
            snapshot = unpack_snapshot(data)
        except Invalid as error:
            raise Invalid(f"{files[-1]}: {error.message}; restore this server") from error
        self.latest = Stored(files[-1], snapshot.index, snapshot.term, len(data))
        return snapshot

    def save(self, snapshot: Snapshot) -> None:
        """Write it durably and make it the latest, unless a newer one is there."""
        fresh = self._folder / "own.part"
        size = 0
        with discarding(fresh), fresh.open("wb") as file:
            for part in pack_snapshot(snapshot):
                file.write(part)
                size += len(part)
            file.flush()
            os.fsync(file.fileno())
        self._adopt(fresh, snapshot.index, snapshot.term, size)

    def receive(self, incoming: Incoming) -> Snapshot:
        """Verify what a leader sent and make it the latest. Raises Invalid and changes nothing."""
        data = incoming.path.read_bytes()
        snapshot = unpack_snapshot(data)
        if (snapshot.index, snapshot.term) != (incoming.index, incoming.term):
            raise Invalid("snapshot is not the one that was announced")
        with incoming.path.open("rb") as file:
            os.fsync(file.fileno())
        self._adopt(incoming.path, snapshot.index, snapshot.term, len(data))
        return snapshot

    def incoming(self, index: int, term: int, size: int) -> Incoming:
        """Begin to receive a snapshot file of this size. Raises Invalid when it is impossible."""
        if not _HEADER.size <= size <= SNAPSHOT_BYTES_MAX:
            raise Invalid(f"a snapshot of {size} bytes; {SNAPSHOT_BYTES_MAX} are allowed")
        return Incoming(self._folder / "incoming.part", index, term, size)

    def _adopt(self, fresh: Path, index: int, term: int, size: int) -> None:
        path = self._folder / f"{index:020d}.snapshot"
        fresh.rename(path)
        sync_folder(self._folder)
        if self.latest is None or index >= self.latest.index:
            self.latest = Stored(path, index, term, size)
        self._clean()

    def _clean(self) -> None:
        keep = self.latest.path if self.latest else None
        for path in self._folder.glob("*.snapshot"):
            if path != keep:
                path.unlink()
        sync_folder(self._folder)


class Incoming:
    """A snapshot on its way in, kept in a file until it is whole."""

    def __init__(self, path: Path, index: int, term: int, size: int) -> None:
        self.path, self.index, self.term, self.size = path, index, term, size
        self.received = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)

    @property
    def whole(self) -> bool:
        """Whether the last byte is here."""
        return self.received == self.size

    def add(self, data: bytes) -> None:
        """Take the next bytes. Raises Invalid when there are more than were announced."""
        if self.received + len(data) > self.size:
            raise Invalid("snapshot is longer than announced")
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self.received += len(data)

    def close(self) -> None:
        """Close the file; it stays where it is."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Reader:
    """A snapshot file being sent: stays readable after a newer one replaced it."""

    def __init__(self, stored: Stored) -> None:
        self.index, self.term, self.size = stored.index, stored.term, stored.size
        self._file = os.open(stored.path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, offset: int, count: int) -> bytes:
        """Bytes of the file from the offset on; fewer at its end."""
        return os.pread(self._file, count, offset)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _digest(index: int, term: int, data: bytes) -> bytes:
    about = struct.pack(">QQ", index, term)
    return hashlib.blake2b(data, digest_size=16, key=about).digest()
