"""Frames: what the main process and its workers tell each other over a stream.

A length of four bytes, a kind of one, a body. Between processes of one program, so no version.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

import msgspec

HEAD = struct.Struct("!IB")
BODY_MAX_BYTES = 64 * 1024 * 1024
PIECE_BYTES = 256 * 1024
"""How much of a client's bytes one frame holds at most."""


class Kind(IntEnum):
    """What a frame is about."""

    # Of one client's connection.
    OPEN = 1
    DATA = 2
    END = 3
    STAY = 4
    DONE = 5
    CLOSE = 6
    # Of a worker.
    SETUP = 16
    ASK = 17
    ANSWER = 18
    REPORT = 19
    HALT = 20


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """On which terms a worker may keep an answer."""

    slot: int
    version: int
    leased: bool
    """Only while the main process leads under a lease."""
    seconds: float | None
    """No longer than so; None for as long as the version is the same."""
    label: str = ""
    """Of the route, for figures."""


class Done(msgspec.Struct, frozen=True, array_like=True):
    """Everything asked for so far is answered."""

    received: int
    """Bytes of the client that this takes into account."""
    terms: Terms | None = None
    """On which the last response may be kept, if it may."""


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """A DNS question, as it came."""

    number: int
    tcp: bool
    peer: str
    data: bytes


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What it is answered with."""

    number: int
    response: bytes | None
    terms: Terms | None = None
    variants: list[bytes] = []
    """Answers without their ids that may be kept on these terms."""
    most: int = 0
    """How many there may come to be."""


class Took(msgspec.Struct, array_like=True):
    """Requests of one route that were answered of what is kept."""

    count: int = 0
    seconds: float = 0.0
    samples: list[float] = []
    """How long some of them took."""


class Report(msgspec.Struct, frozen=True, array_like=True):
    """What a worker did since its last report."""

    http: dict[str, Took]
    dns: dict[str, int]
    access_lost: int = 0
    """Lines of the access log that could not be written."""


class Setup(msgspec.Struct, frozen=True, array_like=True):
    """What a worker works with; options only, if it was told of sockets before."""

    idle_seconds: float
    access_log: str
    dns: bytes
    """Options of the DNS edge, packed."""
    log_level: int
    http_sockets: list[int] = []
    dns_sockets: list[tuple[int, int]] = []


def frame(kind: Kind, body: bytes = b"") -> bytes:
    """A frame as bytes."""
    return HEAD.pack(len(body), kind) + body


def told(kind: Kind, body: msgspec.Struct) -> bytes:
    """A frame about a struct."""
    return frame(kind, msgspec.msgpack.encode(body))


def data(body: bytes) -> bytes:
    """Frames with these bytes of a client's connection."""
    if len(body) <= PIECE_BYTES:
        return HEAD.pack(len(body), Kind.DATA) + body
    pieces = (body[start : start + PIECE_BYTES] for start in range(0, len(body), PIECE_BYTES))
    return b"".join(frame(Kind.DATA, piece) for piece in pieces)


class Frames:
    """Frames out of a stream, as its bytes come."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, came: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that are whole now. Raises ValueError for what is no frame."""
        rest = self._rest + came if self._rest else came
        at = 0
        while len(rest) - at >= HEAD.size:
            length, kind = HEAD.unpack_from(rest, at)
            if length > BODY_MAX_BYTES:
                raise ValueError(f"a frame of {length} bytes")
            end = at + HEAD.size + length
            if end > len(rest):
                break
            yield kind, rest[at + HEAD.size : end]
            at = end
        self._rest = rest[at:]
