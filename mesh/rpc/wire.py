"""Frames between agents and servers: a length, then one msgpack message.

A client sends requests, each with an id it chose; the server answers each with the same id, in
any order. A watch is answered again and again until it is cancelled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import msgspec

from mesh.codec import pack, unpack
from mesh.errors import Invalid
from mesh.registry.port import OrderOptions, ReadOptions, ServerStatus, WriteOptions
from mesh.registry.requests import AnyCommand, AnyOrder, AnyQuery

RPC_BYTE = b"\x10"
VERSION = 1
REQUEST_MAX_BYTES = 2 * 1024 * 1024
REPLY_MAX_BYTES = 64 * 1024 * 1024
TURNED_AWAY = 0
"""The id of no request."""
_HEAD = 4


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First message each way: the protocol version and who speaks.

    The version rises when an older program would misread what follows. A field that older ones
    may ignore, as all with a default are, needs no other version.
    """

    version: int
    node: str
    datacenter: str
    applied: int = 0
    """From servers: the highest log index applied there."""


class Read(msgspec.Struct, frozen=True, tag="read"):
    """Answer once."""

    id: int
    query: AnyQuery
    options: ReadOptions
    forwarded: bool = False
    """A server sent it on to whom it takes for the leader; not to be sent on again."""
    abroad: bool = False
    """A server of another datacenter sent it on to the one in the options; not to leave it again.
    """


class Write(msgspec.Struct, frozen=True, tag="write"):
    """Apply a command."""

    id: int
    command: AnyCommand
    options: WriteOptions
    forwarded: bool = False
    abroad: bool = False


class Watch(msgspec.Struct, frozen=True, tag="watch"):
    """Answer now and at each change until cancelled."""

    id: int
    query: AnyQuery
    options: ReadOptions


class Operate(msgspec.Struct, frozen=True, tag="operate"):
    """Carry out an order."""

    id: int
    order: AnyOrder
    options: OrderOptions
    forwarded: bool = False
    abroad: bool = False


class AskStatus(msgspec.Struct, frozen=True, tag="status"):
    """Ask who leads and who votes."""

    id: int
    datacenter: str = ""
    abroad: bool = False


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """The client no longer waits for this request."""

    id: int


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """An answer; `value` is the query's value, packed."""

    id: int
    value: msgspec.Raw
    index: int
    known_leader: bool
    last_contact: float
    applied: int = 0


class Wrote(msgspec.Struct, frozen=True, tag="wrote"):
    """What the command or the order came to, packed."""

    id: int
    value: msgspec.Raw
    applied: int = 0


class Status(msgspec.Struct, frozen=True, tag="is"):
    """Who leads and who votes."""

    id: int
    status: ServerStatus


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """A MeshError, by its code."""

    id: int
    """TURNED_AWAY: it is about the connection, which ends with it."""
    code: str
    message: str
    applied: int = 0
    index: int = 0
    """Of Outdated: where it was refused, in the log of the datacenter that it was for."""


Request: TypeAlias = Hello | Read | Write | Watch | Operate | AskStatus | Cancel
Reply: TypeAlias = Hello | Answered | Wrote | Status | Failed


def destination(message: Request) -> str:
    """The datacenter that a request is for; empty for that of whoever is asked."""
    if isinstance(message, AskStatus):
        return message.datacenter
    return "" if isinstance(message, Hello | Cancel) else message.options.datacenter


def frame(message: Request | Reply) -> bytes:
    """The bytes of one message."""
    body = pack(message)
    return len(body).to_bytes(_HEAD, "big") + body


def check_version(hello: Hello) -> None:
    """Raise Invalid when the other side speaks in a way that this program does not know."""
    if hello.version > VERSION:
        raise Invalid(
            f"{hello.node}: speaks version {hello.version} of RPC, of a newer mesh, and this one "
            f"knows {VERSION}; upgrade mesh"
        )


def request(body: bytes) -> Request:
    """Read a message sent to a server. Raises Invalid."""
    message: Request = unpack(body, _REQUEST)
    return message


def reply(body: bytes) -> Reply:
    """Read a message sent to a client. Raises Invalid."""
    message: Reply = unpack(body, _REPLY)
    return message


_REQUEST: Any = Request
_REPLY: Any = Reply


class Frames:
    """Cuts a byte stream into message bodies no longer than `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add bytes; yields each body that is whole. Raises Invalid when one is too long."""
        self._buffer += data
        while len(self._buffer) >= _HEAD:
            length = int.from_bytes(self._buffer[:_HEAD], "big")
            if length > self._limit:
                raise Invalid(f"frame of {length} bytes; the limit is {self._limit}")
            end = _HEAD + length
            if len(self._buffer) < end:
                return
            with memoryview(self._buffer) as view:
                body = bytes(view[_HEAD:end])
            del self._buffer[:end]
            yield body
