"""Archives: a snapshot as a file. A gzip'd tar of `meta.json`, `state.bin` and `SHA256SUMS`.

Nothing here touches a disk: bytes come from an iterator and go into one, a bounded portion at a
time, so that no archive is ever in memory as a whole. Consul's snapshots have the same wrapping.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

import msgspec

from mesh import codec
from mesh.errors import Invalid
from mesh.store.export import MAGIC

VERSION = 1
META, STATE, SUMS = "meta.json", "state.bin", "SHA256SUMS"
META_BYTES_MAX = 1 << 20
PORTION_BYTES = 64 << 10
"""Of what is read or written at once; compressed bytes may come in larger portions."""
GZIP_LEVEL = 1
_BLOCK = 512
_GZIP = 31  # zlib's window bits for gzip.


class Table(msgspec.Struct, rename="pascal"):
    """What a snapshot holds of a table."""

    rows: int = 0
    bytes: int = 0


class Meta(msgspec.Struct, rename="pascal"):
    """What a snapshot says of itself. Fields are only ever added."""

    version: int = VERSION
    id: str = msgspec.field(name="ID", default="")
    """Names the snapshot: term, log index and time."""
    index: int = 0
    """The log index after which it was taken."""
    term: int = 0
    level: int = 1
    """The feature level of the cluster."""
    time: str = ""
    """When it was taken, in UTC (RFC 3339)."""
    datacenter: str = ""
    cluster: str = ""
    server: str = ""
    """The name of the server that took it,"""
    status: str = ""
    """and whether that was `leader` or `follower`."""
    mesh: str = ""
    """The version of the program."""
    size: int = 0
    """Bytes of state.bin."""
    digest: str = ""
    """Of all rows, without their indexes, in hexadecimal: equal rows, equal digest."""
    tables: dict[str, Table] = {}


def compressed(meta: Meta, state: Iterable[bytes], sum_of_state: str) -> Iterator[bytes]:
    """The bytes of the file. The state must have as many bytes as the meta says, and this sum."""
    packer = zlib.compressobj(GZIP_LEVEL, wbits=_GZIP)
    for data in _tar(meta, state, sum_of_state):
        if done := packer.compress(data):
            yield done
    yield packer.flush()


def _tar(meta: Meta, state: Iterable[bytes], sum_of_state: str) -> Iterator[bytes]:
    about = codec.to_json(meta, indent=2) + b"\n"
    yield _head(META, len(about)) + _padded(about)
    yield _head(STATE, meta.size)
    size = 0
    for data in state:
        size += len(data)
        yield data
    assert size == meta.size, "the state has the size that was announced"
    yield bytes(-size % _BLOCK)
    sums = f"{sha256(about).hexdigest()}  {META}\n{sum_of_state}  {STATE}\n".encode()
    yield _head(SUMS, len(sums)) + _padded(sums)
    yield bytes(2 * _BLOCK)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _BLOCK)


def _head(name: str, size: int) -> bytes:
    """A header of POSIX's ustar format; sizes beyond its octal digits are in base 256, as GNU's."""
    octal = f"{size:011o}\0".encode()
    number = octal if len(octal) == 12 else b"\x80" + size.to_bytes(11, "big")
    fields = (
        (name.encode(), 100),
        (b"0000600\0", 8),
        (b"0000000\0", 8),
        (b"0000000\0", 8),
        (number, 12),
        (b"00000000000\0", 12),
        (b" " * 8, 8),
        (b"0", 1),
        (b"", 100),
        (b"ustar\x0000", 8),
        (b"", 247),
    )
    block = b"".join(data.ljust(width, b"\0") for data, width in fields)
    total = f"{sum(block):06o}\0 ".encode()
    return block[:148] + total + block[156:]


class Archive:
    """An archive being read from its first byte to its last.

    Raises Invalid, in one line, at whatever is not as it should be: cut short, damaged, no archive
    at all. `meta` is there at once; the state has to be read to its end before it is to be trusted.
    """

    def __init__(self, compressed_bytes: Iterable[bytes]) -> None:
        self._tar = _Tar(_plain(compressed_bytes))
        name, size = self._tar.member()
        if name != META or size > META_BYTES_MAX:
            raise Invalid("is no snapshot: it does not begin with meta.json")
        self.about = b"".join(self._tar.content(size))
        """The bytes of meta.json."""
        self._sums = {META: sha256(self.about).hexdigest()}

    def state(self) -> Iterator[bytes]:
        """The bytes of state.bin in portions; at the end their sum is compared."""
        name, size = self._tar.member()
        if name != STATE:
            raise Invalid(f"is no snapshot: it has {name or 'nothing'} where state.bin should be")
        digest = sha256()
        for portion in self._tar.content(size):
            digest.update(portion)
            yield portion
        self._sums[STATE] = digest.hexdigest()
        self._check()

    def _check(self) -> None:
        name, size = self._tar.member()
        if name != SUMS or size > META_BYTES_MAX:
            raise Invalid("is cut short or damaged: it has no SHA256SUMS")
        lines = b"".join(self._tar.content(size)).decode(errors="replace").splitlines()
        listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        for name, digest in self._sums.items():
            if listed.get(name) != digest:
                raise Invalid(f"is damaged: the sum of {name} does not match")
        self._tar.end()


def read_meta(archive: Archive) -> Meta:
    """What a snapshot of mesh says of itself. Raises Invalid for one of something else."""
    meta = codec.from_json(archive.about, dict[str, Any])
    if "Level" not in meta or "Digest" not in meta:
        raise Invalid(
            "is a snapshot, but not of mesh; one of Consul is read with "
            "meshctl import consul-snapshot"
        )
    found = codec.from_json(archive.about, Meta)
    if found.version != VERSION:
        raise Invalid(f"is of version {found.version}; this program reads {VERSION}: upgrade mesh")
    return found


def is_state(first: bytes) -> bool:
    """Whether a state.bin that begins so is one of mesh."""
    return first.startswith(MAGIC[: len(first)])


def _plain(portions: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack gzip, no more than a portion at a time, however well it was packed."""
    unpacker = zlib.decompressobj(wbits=_GZIP)
    begun = False
    try:
        for portion in portions:
            begun = begun or bool(portion)
            if unpacker.eof and portion:
                raise Invalid("goes on after its end")
            data = unpacker.decompress(portion, PORTION_BYTES)
            while data:
                yield data
                data = unpacker.decompress(unpacker.unconsumed_tail, PORTION_BYTES)
    except zlib.error as error:
        raise Invalid(f"is damaged, or no snapshot at all: {error}") from error
    if not begun:
        raise Invalid("is empty")
    if not unpacker.eof:
        raise Invalid("is cut short")
    if unpacker.unused_data:
        raise Invalid("goes on after its end")


class _Tar:
    """Members of a tar one after the other."""

    def __init__(self, data: Iterator[bytes]) -> None:
        self._data, self._buffer = data, bytearray()

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            more = next(self._data, None)
            if more is None:
                raise Invalid("is cut short")
            self._buffer += more
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def member(self) -> tuple[str, int]:
        """Name and size of the next member; no name when there is none."""
        head = self._take(_BLOCK)
        if not any(head):
            return "", 0
        number = head[124:136]
        try:
            expected = int(head[148:156].strip(b" \0"), 8)
            if number[0] & 0x80:
                size = int.from_bytes(number[1:], "big")
            else:
                size = int(number.strip(b" \0") or b"0", 8)
        except ValueError as error:
            raise Invalid("is damaged, or no snapshot at all: it is no tar") from error
        if sum(head[:148]) + 8 * 0x20 + sum(head[156:]) != expected:
            raise Invalid("is damaged, or no snapshot at all: it is no tar")
        return head[:100].rstrip(b"\0").decode(errors="replace"), size

    def content(self, size: int) -> Iterator[bytes]:
        """The bytes of the member just announced, in portions."""
        left = size
        while left:
            portion = self._take(min(left, PORTION_BYTES))
            left -= len(portion)
            yield portion
        self._take(-size % _BLOCK)

    def end(self) -> None:
        """See that nothing but padding follows, and that the packing ends well."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        while True:
            if any(rest):
                raise Invalid("goes on after its end")
            if (more := next(self._data, None)) is None:
                return
            rest = more
