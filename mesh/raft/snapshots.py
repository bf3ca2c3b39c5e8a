"""Snapshots of the state machine on disk: checksummed, durable before anybody relies on them.

A file is a header (magic, index, term), pieces that each have their length in front, a length of
zero and a digest of all before it. It is written and read piece by piece: nobody ever holds the
whole of it in memory.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from mesh.errors import Invalid
from mesh.raft.disk import discarding, naming
from mesh.raft.journal import make_folder, sync_folder

_HEADER = struct.Struct(">7scQQ")  # Magic, version, index, term.
_MAGIC, _VERSION = b"MESHSNP", b"1"
_LENGTH = struct.Struct(">I")
_DIGEST_BYTES = 16
_END = _LENGTH.pack(0)
_NUMBER_MAX = (1 << 63) - 1
_BUFFER_BYTES = 1 << 18  # Of one read or write.
_UNSYNCED_BYTES_MAX = 8 << 20  # More at once would hold up the journal's own syncs.
SNAPSHOT_BYTES_MAX = 8 << 30  # A whole file, as a leader may announce it.
PIECE_BYTES_MAX = 16 << 20


class Stored(msgspec.Struct, frozen=True):
    """A snapshot on disk: the state after the entry with this index and term.

    `size` is the whole file in bytes.
    """

    path: Path
    index: int
    term: int
    size: int

    def pieces(self) -> Iterator[bytes]:
        """What was saved, as it was saved. Raises Invalid, naming the file, at damage.

        The digest is not checked again: `Snapshots` did that before it gave this away.
        """
        with _naming(self.path), closing(_File(self.path)) as file:
            file.read(_HEADER.size)
            while piece := file.piece():
                yield piece


class Snapshots:
    """The snapshot files of one epoch; only the newest is kept.

    All but `latest` and `incoming` block on the disk: call them in a worker thread, one at a time.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self.latest: Stored | None = None

    def open(self) -> Stored | None:
        """The newest snapshot, or None. Raises Invalid, naming the file, when it is damaged."""
        make_folder(self._folder)
        files = sorted(self._folder.glob("*.snapshot"))
        sync_folder(self._folder)  # A killed process may have left a name in the kernel only.
        try:
            self.latest = verify(files[-1]) if files else None
        except Invalid as error:
            raise Invalid(f"{error.message}; restore this server") from error
        return self.latest

    def save(self, index: int, term: int, pieces: Iterable[bytes]) -> Stored:
        """Write it durably and make it the latest, unless a newer one is there."""
        fresh = self._folder / "own.part"
        with discarding(fresh):
            file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                head = _HEADER.pack(_MAGIC, _VERSION, index, term)
                size = _write(file, head, pieces)
            finally:
                os.close(file)
        return self._adopt(Stored(fresh, index, term, size))

    def check(self, incoming: Incoming) -> Stored:
        """What a leader sent, whole and undamaged. Raises Invalid and changes nothing."""
        stored = verify(incoming.path)
        if (stored.index, stored.term) != (incoming.index, incoming.term):
            raise Invalid("snapshot is not the one that was announced")
        return stored

    def adopt(self, checked: Stored) -> Stored:
        """Make what `check` gave durable and the latest, unless a newer one is there."""
        file = os.open(checked.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
        return self._adopt(checked)

    def incoming(self, index: int, term: int, size: int) -> Incoming:
        """Begin to receive a snapshot file of this size. Raises Invalid when it is impossible."""
        if not _HEADER.size + len(_END) + _DIGEST_BYTES <= size <= SNAPSHOT_BYTES_MAX:
            raise Invalid(f"a snapshot of {size} bytes; {SNAPSHOT_BYTES_MAX} are allowed")
        return Incoming(self._folder / "incoming.part", index, term, size)

    def _adopt(self, fresh: Stored) -> Stored:
        path = self._folder / f"{fresh.index:020d}.snapshot"
        fresh.path.rename(path)
        sync_folder(self._folder)
        stored = Stored(path, fresh.index, fresh.term, fresh.size)
        if self.latest is None or stored.index >= self.latest.index:
            self.latest = stored
        self._clean()
        return stored

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
        with naming(self.path):
            _write_all(self._file, data)
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


def verify(path: Path) -> Stored:
    """Read a whole file. Raises Invalid, naming it, when a byte is not as it was written."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with _naming(path), closing(_File(path)) as file:
        head = file.read(_HEADER.size)
        magic, version, index, term = _HEADER.unpack(head)
        if magic != _MAGIC:
            raise Invalid("is not a snapshot of mesh")
        if version != _VERSION:
            raise Invalid(f"is of format {version!r}, this program knows {_VERSION!r}")
        digest.update(head)
        while piece := file.piece():
            digest.update(_LENGTH.pack(len(piece)))
            digest.update(piece)
        digest.update(_END)
        if file.read(_DIGEST_BYTES) != digest.digest() or not file.ended():
            raise Invalid("checksum does not match")
        if max(index, term) > _NUMBER_MAX:
            raise Invalid("has a number that makes no sense")
        return Stored(path, index, term, file.position)


def _write(file: int, head: bytes, pieces: Iterable[bytes]) -> int:
    """Write the file durably; its size."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    size = unsynced = 0
    waiting: list[bytes] = [head]

    def flush() -> None:
        nonlocal size, unsynced
        data = b"".join(waiting)
        waiting.clear()
        digest.update(data)
        _write_all(file, data)
        size += len(data)
        unsynced += len(data)
        if unsynced >= _UNSYNCED_BYTES_MAX:
            os.fdatasync(file)
            unsynced = 0

    gathered = 0
    for piece in pieces:
        assert 0 < len(piece) <= PIECE_BYTES_MAX, "a piece over the limit, or an empty one"
        waiting += (_LENGTH.pack(len(piece)), piece)
        gathered += len(piece)
        if gathered >= _BUFFER_BYTES:
            flush()
            gathered = 0
    waiting.append(_END)
    flush()
    _write_all(file, digest.digest())
    os.fsync(file)
    return size + _DIGEST_BYTES


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except Invalid as error:
        raise Invalid(f"{path}: {error.message}") from error


class _File:
    """A file read from its start to its end."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._buffer, self._start = b"", 0
        self.position = 0

    def read(self, count: int) -> bytes:
        """The next bytes. Raises Invalid when there are not so many."""
        place = self.position - self._start
        if place + count > len(self._buffer):
            self._buffer = os.pread(self._file, max(count, _BUFFER_BYTES), self.position)
            self._start, place = self.position, 0
        data = self._buffer[place : place + count]
        if len(data) < count:
            raise Invalid("is cut short")
        self.position += count
        return data

    def piece(self) -> bytes:
        """The next piece; empty after the last one."""
        (length,) = _LENGTH.unpack(self.read(_LENGTH.size))
        if length > PIECE_BYTES_MAX:
            raise Invalid("has a piece over the limit")
        return self.read(length)

    def ended(self) -> bool:
        """Whether nothing follows."""
        return not os.pread(self._file, 1, self.position)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
