"""The journal: log entries, term and vote in checksummed segments, durable before any promise."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from mesh.errors import Invalid
from mesh.raft.disk import name, naming

Entry = tuple[bytes, int, int]  # Command, index, term: the order pysyncobj uses.

ENTRY, TERM, DELETE_FROM, DELETE_TO, CLEAR, MARK = range(1, 7)
MAGIC = b"MESHJNL1"  # The last byte is the version of the format.
SEGMENT_BYTES = 64 << 20
DATA_BYTES_MAX = 2 << 20
SLICE_ENTRIES_MAX = 1024  # Taken in at once by whoever gets them, some 3 us each.
_HEADER = struct.Struct(">IIBQQ")  # Length of data, CRC32 of all that follows, kind, index, term.
_CHECKED = struct.Struct(">BQQ")
_NUMBER_MAX = (1 << 63) - 1
_MARK_DATA = b"all before this was on disk"


class Record(msgspec.Struct, frozen=True):
    """One journal record. Which fields count depends on its kind."""

    kind: int
    index: int
    term: int
    data: bytes


class Batch(NamedTuple):
    """Packed records to be stored together, and what is true once they are."""

    records: list[bytes]
    term: int
    vote: str
    last_index: int  # Highest entry index among the records, 0 when there is none.


def pack_record(record: Record) -> bytes:
    """The bytes of a record, with length and checksum."""
    return _packed(record.kind, record.index, record.term, record.data)


def _packed(kind: int, index: int, term: int, data: bytes) -> bytes:
    check = zlib.crc32(data, zlib.crc32(_CHECKED.pack(kind, index, term)))
    return _HEADER.pack(len(data), check, kind, index, term) + data


def unpack_record(data: bytes | memoryview, offset: int) -> tuple[Record, int]:
    """The record at the offset and where the next one starts. Raises Invalid for anything else."""
    start = offset + _HEADER.size
    if start > len(data):
        raise Invalid("record header is cut short")
    length, check, kind, index, term = _HEADER.unpack_from(data, offset)
    if length > DATA_BYTES_MAX or not ENTRY <= kind <= MARK:
        raise Invalid("record header makes no sense")
    if index > _NUMBER_MAX or term > _NUMBER_MAX:
        raise Invalid("record number makes no sense")
    if start + length > len(data):
        raise Invalid("record is cut short")
    body = bytes(data[start : start + length])
    if zlib.crc32(body, zlib.crc32(_CHECKED.pack(kind, index, term))) != check:
        raise Invalid("record checksum does not match")
    return Record(kind, index, term, body), start + length


class Journal:
    """The log in memory, and the records that are not stored yet. It does no I/O.

    Whoever owns it calls `take`, has the batch stored, then calls `stored`. Only what `durable_*`
    covers may be promised to anybody.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.term = 0
        self.vote = ""
        self.durable_index = 0
        self._durable_term = (0, "")
        self._storing_index = 0
        self._storing_term = (0, "")
        self._pending: list[bytes] = []
        self._pending_last = 0

    @property
    def first_index(self) -> int:
        """Index of the oldest entry held; its command may be a stand-in, its term is true."""
        return self.entries[0][1]

    @property
    def last_index(self) -> int:
        """Index of the newest entry; 0 when there is none."""
        return self.entries[-1][1] if self.entries else 0

    @property
    def last_term(self) -> int:
        """Term of the newest entry; 0 when there is none."""
        return self.entries[-1][2] if self.entries else 0

    @property
    def dirty(self) -> bool:
        """Whether there are records that no batch has taken."""
        return bool(self._pending)

    @property
    def waiting(self) -> int:
        """Records that no batch has taken."""
        return len(self._pending)

    @property
    def term_durable(self) -> bool:
        """Whether the present term and vote are on disk."""
        return self._durable_term == (self.term, self.vote)

    def term_at(self, index: int) -> int | None:
        """Term of the entry at the index, or None when it is not held."""
        place = index - self.entries[0][1] if self.entries else -1
        return self.entries[place][2] if 0 <= place < len(self.entries) else None

    def slice(self, first: int, byte_limit: int) -> list[Entry]:
        """Entries from this index on, at least one if there is any, up to about this many bytes."""
        start = first - self.first_index
        assert start >= 0, "asked for entries that were compacted"
        end, size = start, 0
        most = min(len(self.entries), start + SLICE_ENTRIES_MAX)
        while end < most and (end == start or size < byte_limit):
            size += len(self.entries[end][0])
            end += 1
        return self.entries[start:end]

    def keep_from(self, index: int, count: int, size: int) -> int:
        """Where to cut so that what stays below `index` is so many entries and bytes at most."""
        first = index
        while first > self.first_index and index - first < count:
            size -= len(self.entries[first - 1 - self.first_index][0])
            if size < 0:
                break
            first -= 1
        return first

    def append(self, command: bytes, index: int, term: int) -> None:
        """Add an entry; its index follows the last one, or starts an empty log."""
        assert not self.entries or index == self.last_index + 1, "a hole in the log"
        assert len(command) <= DATA_BYTES_MAX, "entry over the limit of the journal"
        self.entries.append((command, index, term))
        self._pending.append(_packed(ENTRY, index, term, command))
        self._pending_last = index

    def set_term(self, term: int, vote: str) -> None:
        """Remember the term and who got this node's vote in it; empty for nobody yet."""
        self.term, self.vote = term, vote
        self._write(Record(TERM, 0, term, vote.encode()))

    def delete_from(self, index: int) -> None:
        """Remove the entries from this index to the end."""
        del self.entries[max(0, index - self.first_index) :]
        self._write(Record(DELETE_FROM, index, 0, b""))
        self.durable_index = min(self.durable_index, index - 1)
        self._storing_index = min(self._storing_index, index - 1)

    def delete_to(self, index: int) -> None:
        """Remove the entries below this index, which must be held and in a durable snapshot."""
        place = index - self.first_index
        assert 0 <= place < len(self.entries), "compaction beyond the log"
        del self.entries[:place]
        self._write(Record(DELETE_TO, index, 0, b""))

    def clear(self, index: int, term: int, command: bytes) -> None:
        """Replace the whole log by a stand-in for the last entry of a snapshot."""
        self.entries.clear()
        self._write(Record(CLEAR, 0, 0, b""))
        self.durable_index = self._storing_index = 0
        self.append(command, index, term)

    def take(self) -> Batch:
        """Everything not stored yet, to be stored now. One batch at a time."""
        batch = Batch(self._pending, self.term, self.vote, self._pending_last)
        self._pending, self._pending_last = [], 0
        self._storing_index = self.last_index
        self._storing_term = (self.term, self.vote)
        return batch

    def stored(self) -> None:
        """The batch taken last is on disk."""
        self.durable_index = self._storing_index
        self._durable_term = self._storing_term

    def replay(self, records: Iterator[Record]) -> None:
        """Rebuild from what was on disk. Raises Invalid when the records contradict each other."""
        for record in records:
            self._replay_one(record)
        self.durable_index = self._storing_index = self.last_index
        self._durable_term = self._storing_term = (self.term, self.vote)

    def _replay_one(self, record: Record) -> None:
        kind, index, term, data = record.kind, record.index, record.term, record.data
        if kind == ENTRY:
            if self.entries and index != self.last_index + 1:
                raise Invalid(f"entry {index} follows entry {self.last_index}")
            if not data:
                raise Invalid(f"entry {index} is empty")
            self.entries.append((data, index, term))
        elif kind == TERM:
            if term < self.term:
                raise Invalid(f"term {term} follows term {self.term}")
            self.term, self.vote = term, data.decode(errors="replace")
        elif kind == CLEAR:
            self.entries.clear()
        elif self.entries and kind == DELETE_FROM:
            del self.entries[max(0, index - self.first_index) :]
        elif self.entries and kind == DELETE_TO:
            del self.entries[: max(0, index - self.first_index)]

    def _write(self, record: Record) -> None:
        self._pending.append(pack_record(record))


class Segments:
    """The files of a journal. `store` and `drop_below` run in one worker thread, never at once.

    Each batch begins with a mark, and so does a clean end: what lies before a mark was on disk
    when it was written. A bad record with no mark behind it was being written when the machine
    stopped; with one it is damage, and acknowledged entries may be behind it.
    """

    def __init__(self, folder: str, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = Path(folder)
        self._limit = segment_bytes
        self._file = -1
        self._size = 0
        self._synced = False
        self._number = 0
        self._term, self._vote = 0, ""
        self._last: dict[int, int] = {}  # Segment number to the highest entry index in it.
        self.bytes_stored = 0

    def open(self, *, fresh: bool) -> Iterator[Record]:
        """Every record on disk; afterwards the journal can be written. A torn tail is cut.

        Raises Invalid, naming the file, when a sealed segment is damaged or missing, or when
        there is none although this is not a `fresh` start; nothing is changed then.
        """
        numbers = sorted(_number(path) for path in self._folder.glob("*.journal"))
        if not (numbers or fresh):  # Starting empty, it could vote twice in one term.
            raise Invalid(f"{self._folder}: the journal is missing; restore this server")
        make_folder(self._folder)
        if numbers and numbers != list(range(numbers[0], numbers[-1] + 1)):
            raise Invalid(f"{self._folder}: a journal segment is missing between {numbers}")
        for number in numbers[:-1]:
            yield from self._read(number, sealed=True)
        if numbers:
            self._number = numbers[-1]
            yield from self._read(self._number, sealed=False)
        if not numbers or self._size < len(MAGIC):
            self._create(self._number or 1)
        else:
            sync_folder(self._folder)  # Its name too, see `_resume`.

    def read(self) -> Iterator[Record]:
        """Every record on disk, of a journal that is not written any more. Changes nothing.

        Raises Invalid, naming the file, when it is damaged or missing.
        """
        numbers = sorted(_number(path) for path in self._folder.glob("*.journal"))
        if not numbers or numbers != list(range(numbers[0], numbers[-1] + 1)):
            raise Invalid(f"{self._folder}: the journal is missing or has a hole")
        for number in numbers:
            last = number == numbers[-1]
            yield from self._read(number, sealed=not last, resume=False)

    def store(self, batch: Batch) -> None:
        """Append the records and return when they are on disk. Raises OSError; never retry it."""
        if self._size >= self._limit:
            self._create(self._number + 1)
        self._synced = False
        try:
            self._write(b"".join([_mark(self._size), *batch.records]))
            os.fdatasync(self._file)
        except OSError as error:
            name(error, self._path(self._number))
            raise
        self._synced = True
        self._term, self._vote = batch.term, batch.vote
        self._last[self._number] = max(self._last.get(self._number, 0), batch.last_index)

    def drop_below(self, index: int) -> None:
        """Remove the oldest sealed segments while all their entries lie below the index."""
        for number in sorted(self._last):
            if number == self._number or self._last[number] >= index:
                break
            self._path(number).unlink()
            sync_folder(self._folder)  # One by one, so that a crash leaves no hole between them.
            del self._last[number]

    def close(self) -> None:
        """Close the file. Call it after the last `store` has returned."""
        if self._file >= 0 and self._synced:
            with contextlib.suppress(OSError):  # It only helps to tell damage from a torn tail.
                self._write(_mark(self._size))
        self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file, self._synced = -1, False

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}.journal"

    def _create(self, number: int) -> None:
        self._close()  # Without a mark, which could be torn in a segment that must be whole.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._file = os.open(self._path(number), flags, 0o600)
        self._number, self._size = number, 0
        with naming(self._path(number)):
            self._write(self._beginning())
            os.fsync(self._file)
        sync_folder(self._folder)
        self._last[number], self._synced = 0, True

    def _beginning(self) -> bytes:
        return MAGIC + pack_record(Record(TERM, 0, self._term, self._vote.encode()))

    def _write(self, data: bytes) -> None:
        written = os.write(self._file, data)
        while written < len(data):
            written += os.write(self._file, memoryview(data)[written:])
        self._size += len(data)
        self.bytes_stored += len(data)

    def _read(self, number: int, *, sealed: bool, resume: bool = True) -> Iterator[Record]:
        path = self._path(number)
        data = path.read_bytes()
        offset = len(MAGIC)
        self._last[number] = 0
        if data.startswith(MAGIC[:-1]) and len(data) >= len(MAGIC) and not data.startswith(MAGIC):
            version = data[: len(MAGIC)][-1:].decode(errors="replace")
            raise Invalid(f"{path}: written by another mesh (journal format {version}); run that")
        if not sealed and len(data) <= len(self._beginning()) and not _begins(data):
            self._size = 0  # Cut off while it was made: it holds nothing that was ever promised.
            return
        if not data.startswith(MAGIC):
            raise Invalid(f"{path}: is not a journal segment of mesh; restore this server")
        while offset < len(data):
            try:
                record, offset = unpack_record(data, offset)
            except Invalid as error:
                # The first record was synced before the rest, and what is marked before the mark.
                if sealed or offset == len(MAGIC) or _marked(data, offset):
                    raise Invalid(f"{path}: damaged at byte {offset}: {error.message}") from error
                break
            self._note(number, record)
            yield record
        if resume and not sealed:
            self._resume(path, offset, torn=offset < len(data))

    def _note(self, number: int, record: Record) -> None:
        if record.kind == TERM:
            self._term, self._vote = record.term, record.data.decode(errors="replace")
        elif record.kind == ENTRY:
            self._last[number] = max(self._last[number], record.index)

    def _resume(self, path: Path, size: int, *, torn: bool) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._size = size
        if torn:
            os.ftruncate(self._file, size)
        os.fsync(self._file)  # What a killed process wrote may be in the kernel only.
        self._synced = True


def _mark(offset: int) -> bytes:
    return _packed(MARK, offset, 0, _MARK_DATA)


def _marked(data: bytes, offset: int) -> bool:
    """Whether a mark lies behind the offset. It names its place, so values look like none."""
    while (place := data.find(_MARK_DATA, offset)) >= 0:
        start, offset = place - _HEADER.size, place + 1
        with contextlib.suppress(Invalid):
            record, _ = unpack_record(data, start)
            if record.kind == MARK and record.index == start:
                return True
    return False


def make_folder(folder: Path) -> None:
    """Make the folder durably, with all above it. One that is there may be in the kernel only."""
    if not folder.is_dir():
        if not folder.parent.is_dir():
            make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def save_durably(path: Path, data: bytes) -> None:
    """Write a small file. A crash leaves what was there before or the whole of it."""
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make files that appeared in the folder, or went from it, do so durably."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _begins(data: bytes) -> bool:
    try:
        unpack_record(data, len(MAGIC))
    except Invalid:
        return False
    return data.startswith(MAGIC)


def _number(path: Path) -> int:
    if not path.stem.isdecimal():
        raise Invalid(f"{path}: is not a file of mesh; move it away")
    return int(path.stem)
