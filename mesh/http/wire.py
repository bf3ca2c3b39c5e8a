"""HTTP/1.1 as bytes (RFC 9112): the head of a request, its body, the head of a response. No I/O.

What two readers could understand differently is refused: it is how requests are smuggled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from mesh.errors import TooLarge

LINE_MAX_BYTES = 64 * 1024
"""Of a head."""
HEADERS_MAX = 256
HEADS_REMEMBERED = 256
"""So many different sets of header fields,"""
FIELDS_REMEMBERED_BYTES = 1024
"""of so many bytes at most."""
_VERSION = b" HTTP/1.1"
_CONTROL_CHARACTERS = "control characters in the head"
_LONG_LINE = f"a line of the head is longer than {LINE_MAX_BYTES} bytes"
CHUNK_LINE_MAX_BYTES = 4096
TRAILERS_MAX_BYTES = 16 * 1024
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_NAMES = {
    name: name.lower()
    for title in (
        "Host", "User-Agent", "Accept", "Accept-Encoding", "Connection", "Content-Length",
        "Content-Type", "X-Consul-Token", "Transfer-Encoding",
    )
    for name in (title, title.lower())
}  # fmt: skip
"""Names that nearly every request has, as they are written."""
_METHODS = {"GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS"}
_NO_REQUEST_LINE = "the first line is not METHOD TARGET HTTP/1.1"
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?").fullmatch
STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class Malformed(Exception):
    """These bytes are no HTTP; the message says why."""


class Head(msgspec.Struct):
    """A request without its body."""

    method: str
    target: str
    """As sent; bytes that are no UTF-8 as surrogates."""
    headers: Mapping[str, str]
    """Header fields by their names in lower case; repeated ones are joined by a comma."""
    length: int = 0
    chunked: bool = False
    keep_alive: bool = True
    continues: bool = False
    """Whether the client waits to be told to send the body."""
    old: bool = False
    """HTTP/1.0: no chunks, and the connection ends unless it asked otherwise."""
    raw: bytes = b""
    """All that came, when that is this head with the empty line behind it and no more."""


class Heads:
    """Reads the heads of requests. Most clients send the same header fields again and again.

    So it remembers those it read last, of all clients, and what they say.
    """

    def __init__(self) -> None:
        self._said: dict[bytes, tuple[Mapping[str, str], int, bool, bool, bool]] = {}

    def __len__(self) -> int:
        """How many sets of header fields it remembers."""
        return len(self._said)

    def read(self, data: bytes) -> Head:
        """See `parse_head`."""
        end = data.find(b"\r\n")
        fields = data[end - len(_VERSION) :]
        if end < 0 or (said := self._said.get(fields)) is None:
            head = parse_head(data)
            if end >= 0 and not head.old and len(fields) <= FIELDS_REMEMBERED_BYTES:
                self._remember(fields, head)
            return head
        line = data[:end].decode("utf-8", "surrogateescape")
        if not line.isprintable() and _CONTROL.search(line):
            raise Malformed(_CONTROL_CHARACTERS)
        if end > LINE_MAX_BYTES:
            raise Malformed(_LONG_LINE)
        method, target, _ = _request_line(line)
        return Head(method, target, *said)

    def _remember(self, fields: bytes, head: Head) -> None:
        if len(self._said) >= HEADS_REMEMBERED:
            self._said.clear()
        one = head
        self._said[fields] = (one.headers, one.length, one.chunked, one.keep_alive, one.continues)


def parse_head(data: bytes) -> Head:
    """Read what precedes the empty line. Raises Malformed."""
    text = data.decode("utf-8", "surrogateescape")
    first, *lines = text.split("\r\n")
    # Most heads are printable, which is seen faster than what is wrong with the others.
    if not (first.isprintable() and "".join(lines).isprintable()) and _CONTROL.search(text):
        raise Malformed(_CONTROL_CHARACTERS)
    if len(data) > LINE_MAX_BYTES and max(map(len, (first, *lines))) > LINE_MAX_BYTES:
        raise Malformed(_LONG_LINE)
    method, target, version = _request_line(first)
    if len(lines) > HEADERS_MAX:
        raise Malformed(f"more than {HEADERS_MAX} header fields")
    found: dict[str, str] = {}
    for line in lines:
        given, colon, value = line.partition(":")
        name = _NAMES.get(given, "") if colon else ""
        if not name:
            if not colon or not _TOKEN(given):
                raise Malformed("a header field has no proper name")
            name = given.lower()
        value = value.strip(" \t")
        if name in found:
            if name in {"content-length", "host", "transfer-encoding"}:
                raise Malformed(f"{name} stands there twice")
            value = f"{found[name]}, {value}"
        found[name] = value
    head = Head(method, target, found, old=version == "HTTP/1.0")
    _frame(head, found)
    return head


def _request_line(line: str) -> tuple[str, str, str]:
    parts = line.split(" ")
    if len(parts) != 3 or not parts[1] or "\t" in parts[1]:
        raise Malformed(_NO_REQUEST_LINE)
    if parts[0] not in _METHODS and not _TOKEN(parts[0]):
        raise Malformed(_NO_REQUEST_LINE)
    if parts[2] not in {"HTTP/1.1", "HTTP/1.0"}:
        raise Malformed("the version is neither HTTP/1.1 nor HTTP/1.0")
    return parts[0], parts[1], parts[2]


def _frame(head: Head, found: dict[str, str]) -> None:
    """How long the body is, and what follows it."""
    connection = found.get("connection", "").lower()
    head.keep_alive = "keep-alive" in connection if head.old else "close" not in connection
    head.continues = found.get("expect", "").lower() == "100-continue"
    length = found.get("content-length")
    if (coding := found.get("transfer-encoding")) is not None:
        if coding.lower() != "chunked" or length is not None or head.old:
            raise Malformed("transfer-encoding: only chunked is understood, and no content-length")
        head.chunked = True
    elif length is not None:
        if not (length.isascii() and length.isdigit() and len(length) < 16):
            raise Malformed("content-length is no number")
        head.length = int(length)


def too_large(limit: int) -> TooLarge:
    """The error of a body over its limit."""
    return TooLarge(f"Request body too large, max size: {limit} bytes")


class Sized:
    """A body whose length is known."""

    __slots__ = ("_left", "_pieces", "size")

    def __init__(self, length: int, limit: int) -> None:
        if length > limit:
            raise too_large(limit)
        self._pieces: list[bytes] = []
        self._left = length
        self.size = 0

    def feed(self, data: bytes) -> bytes | None:
        """Take what came; what is left of it once the body is whole, and None before."""
        taken = data if len(data) <= self._left else data[: self._left]
        self._pieces.append(taken)
        self._left -= len(taken)
        self.size += len(taken)
        return None if self._left else data[len(taken) :]

    def take(self) -> bytes:
        """What came since it was last taken: the body, once it is whole."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Chunked:
    """A body in chunks."""

    __slots__ = (
        "_data",
        "_in_trailers",
        "_left",
        "_limit",
        "_pieces",
        "_place",
        "_trailers",
        "size",
    )

    def __init__(self, limit: int) -> None:
        self._pieces: list[bytes] = []
        self._limit, self.size = limit, 0
        self._data, self._place = b"", 0
        self._left = -1  # Of the present chunk and the line end behind it; -1 before its size.
        self._in_trailers, self._trailers = False, 0

    def feed(self, data: bytes) -> bytes | None:
        """Take what came; what is left of it once the body is whole, and None before.

        Raises Malformed, and TooLarge as soon as it is over the limit.
        """
        # What is used up is passed over, not cut off: there may be very many small chunks.
        self._data, self._place = self._data[self._place :] + data, 0
        while not self._in_trailers:
            if not (self._begin() if self._left < 0 else self._take()):
                return None
        return self._end()

    def _line(self, most: int, too_long: str) -> bytes | None:
        """The next line, None as long as it is not whole."""
        end = self._data.find(b"\r\n", self._place, self._place + most + 2)
        if end < 0:
            if len(self._data) - self._place >= most + 2:
                raise Malformed(too_long)
            return None
        line, self._place = self._data[self._place : end], end + 2
        return line

    def _begin(self) -> bool:
        line = self._line(CHUNK_LINE_MAX_BYTES, "a chunk's size is too long")
        if line is None:
            return False
        size = _CHUNK(line)
        if size is None:
            raise Malformed("a chunk has no size")
        length = int(size[1], 16)
        if self.size + length > self._limit:
            raise too_large(self._limit)
        self._in_trailers = length == 0
        self._left = length + 2 if length else -1
        return True

    def _take(self) -> bool:
        content = self._data[self._place : self._place + max(0, self._left - 2)]
        self._pieces.append(content)
        self.size += len(content)
        self._place, self._left = self._place + len(content), self._left - len(content)
        if self._left > 2 or len(self._data) - self._place < 2:
            return False
        if self._data[self._place : self._place + 2] != b"\r\n":
            raise Malformed("a chunk is longer than its size")
        self._place, self._left = self._place + 2, -1
        return True

    def _end(self) -> bytes | None:
        """Skip the trailers."""
        while (line := self._line(TRAILERS_MAX_BYTES, "the trailers are too long")) is not None:
            if not line:
                return self._data[self._place :]
            self._trailers += len(line)
            if self._trailers > TRAILERS_MAX_BYTES:
                raise Malformed("the trailers are too long")
        return None

    def take(self) -> bytes:
        """What came since it was last taken: the body, once it is whole."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def field(name: str, value: str) -> bytes:
    """A line of a response's head; what would end the line becomes a blank."""
    if not value.isprintable():
        value = re.sub(r"[\x00-\x1f\x7f]", " ", value)
    return f"{name}: {value}\r\n".encode(errors="surrogateescape")


def chunk(piece: bytes) -> bytes:
    """A piece of a body of unknown length (RFC 9112, section 7.1)."""
    return b"%x\r\n%s\r\n" % (len(piece), piece)
