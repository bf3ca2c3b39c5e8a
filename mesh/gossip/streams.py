"""Streams: the one message each side sends over TCP, read as the bytes arrive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgpack
import msgspec

from mesh.errors import Invalid
from mesh.gossip.messages import (
    ACK,
    COMPRESS,
    ERROR,
    FIELDS_MAX,
    PING,
    PUSH_PULL,
    USER,
    VERSIONS,
    Ack,
    Fault,
    Ping,
    User,
    encode,
    number,
    pack_map,
    raw,
    read_message,
    signed,
    text,
)
from mesh.gossip.packets import unpack

NODES_MAX = 1_048_576
USER_STATE_MAX_BYTES = 20 * 1024 * 1024
STREAM_MAX_BYTES = 40 * 1024 * 1024

ALIVE, SUSPECT, DEAD, LEFT = range(4)


class NodeState(msgspec.Struct, frozen=True):
    """A member as one node sees it. `state` is ALIVE, SUSPECT, DEAD or LEFT."""

    name: str
    address: bytes
    port: int
    incarnation: int
    state: int
    meta: bytes = b""
    versions: bytes = VERSIONS


class PushPull(msgspec.Struct, frozen=True):
    """All that one side knows: its members and the state of the layer above."""

    nodes: Sequence[NodeState]
    user_state: bytes = b""
    join: bool = False


StreamMessage: TypeAlias = PushPull | Ping | Ack | User | Fault

_PUSH_PULL = bytes((PUSH_PULL,))


def encode_push_pull(state: PushPull) -> bytes:
    """The bytes of a push/pull, type byte first. Large ones are made in a thread."""
    pack = msgpack.Packer(use_bin_type=False, unicode_errors="surrogateescape").pack
    head = pack_map(
        {
            "Join": state.join,
            "Nodes": signed(len(state.nodes)),
            "UserStateLen": signed(len(state.user_state)),
        }
    )
    nodes = [
        pack(
            {
                b"Addr": node.address or None,
                b"Incarnation": node.incarnation,
                b"Meta": node.meta or None,
                b"Name": node.name,
                b"Port": node.port,
                b"State": node.state,
                b"Vsn": node.versions or None,
            }
        )
        for node in state.nodes
    ]
    return b"".join((_PUSH_PULL, head, *nodes, state.user_state))


def encode_user(message: User) -> bytes:
    """The bytes of a user message on a stream, where its length is said."""
    body = message.payload
    return bytes((USER,)) + pack_map({"UserMsgLen": signed(len(body))}) + body


def encode_stream(message: StreamMessage) -> bytes:
    """The bytes of whatever one side of a stream says."""
    if isinstance(message, PushPull):
        return encode_push_pull(message)
    if isinstance(message, User):
        return encode_user(message)
    return encode(message)


class StreamReader:
    """Takes the bytes of one stream; `feed` gives the message once it is whole."""

    def __init__(self) -> None:
        self._kind = -1
        self._size = 0
        self._unpacker = _unpacker()
        self._head: dict[bytes, Any] | None = None
        self._nodes: list[NodeState] = []

    def feed(self, data: bytes) -> StreamMessage | None:
        """Add bytes. Raises Invalid when they are no message, or more than the limits allow."""
        self._size += len(data)
        if self._size > STREAM_MAX_BYTES:
            raise Invalid(f"stream of more than {STREAM_MAX_BYTES} bytes")
        if self._kind < 0 and data:
            self._kind, data = data[0], data[1:]
            if self._kind not in {PING, ACK, PUSH_PULL, USER, COMPRESS, ERROR}:
                raise Invalid(f"stream message type {self._kind} is unknown")
        try:
            self._unpacker.feed(data)
            return self._parse()
        except (ValueError, msgpack.UnpackException, RecursionError, TypeError) as error:
            raise Invalid(f"stream is not msgpack: {error}") from error

    def _parse(self) -> StreamMessage | None:
        if self._head is None:
            self._head = self._map()
        if self._head is None:
            return None
        if self._kind == COMPRESS:
            return self._unpacked(self._head)
        if self._kind == PUSH_PULL:
            return self._push_pull(self._head)
        if self._kind == USER:
            body = self._bytes(number(self._head, "UserMsgLen", USER_STATE_MAX_BYTES))
            return None if body is None else User(body)
        message = read_message(self._kind, self._head)
        assert isinstance(message, Ping | Ack | Fault)
        return message

    def _unpacked(self, fields: dict[bytes, Any]) -> StreamMessage | None:
        inner = StreamReader()
        content = unpack(fields, STREAM_MAX_BYTES)
        if content[0] == COMPRESS:
            raise Invalid("compressed data within compressed data")
        message = inner.feed(content)
        if message is None:
            raise Invalid("the compressed data ends within a message")
        return message

    def _push_pull(self, head: dict[bytes, Any]) -> PushPull | None:
        count = number(head, "Nodes", NODES_MAX)
        while len(self._nodes) < count:
            fields = self._map()
            if fields is None:
                return None
            self._nodes.append(_node(fields))
        state = self._bytes(number(head, "UserStateLen", USER_STATE_MAX_BYTES))
        if state is None:
            return None
        return PushPull(self._nodes, state, bool(head.get(b"Join")))

    def _map(self) -> dict[bytes, Any] | None:
        try:
            fields = self._unpacker.unpack()
        except msgpack.OutOfData:
            return None
        if not isinstance(fields, dict):
            raise Invalid("stream holds something other than a map")
        return fields

    def _bytes(self, length: int) -> bytes | None:
        if self._size - 1 - self._unpacker.tell() < length:
            return None
        body: bytes = self._unpacker.read_bytes(length)
        return body


def _unpacker() -> Any:
    return msgpack.Unpacker(
        raw=True,
        max_buffer_size=STREAM_MAX_BYTES,
        max_map_len=FIELDS_MAX,
        max_array_len=FIELDS_MAX,
    )


def _node(fields: dict[bytes, Any]) -> NodeState:
    return NodeState(
        name=text(fields, "Name"),
        address=raw(fields, "Addr"),
        port=number(fields, "Port", 65535),
        incarnation=number(fields, "Incarnation", 2**32 - 1),
        state=number(fields, "State", 3),
        meta=raw(fields, "Meta"),
        versions=raw(fields, "Vsn"),
    )
