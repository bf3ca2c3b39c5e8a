"""Bodies: the bytes of Serf's queries, answers and relays, inside of SWIM's user messages.

Each is a type byte and one msgpack map, like the messages of SWIM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgpack
import msgspec

from mesh.errors import Invalid
from mesh.gossip.lamport import TIME_MAX
from mesh.gossip.messages import Packed, host, number, pack_map, raw, signed, text, unpack_map

LEAVE, JOIN, STATE, EVENT, QUERY, RESPONSE, CONFLICT, KEY_REQUEST, KEY_RESPONSE, RELAY = range(10)
NODES, TAG = 0, 1
ACK_FLAG = 1
"""Of a query: every member it reaches says so at once. Of a response: this is such a word."""
NO_REBROADCAST_FLAG = 2
FILTERS_MAX = 64
FILTER_NODES_MAX = 4096
_U16, _U32, _I64 = 2**16 - 1, 2**32 - 1, 2**63 - 1


class NodesFilter(msgspec.Struct, frozen=True):
    """Only these nodes are asked."""

    nodes: Sequence[str]


class TagFilter(msgspec.Struct, frozen=True):
    """Only nodes are asked whose tag has the expression somewhere in its value."""

    tag: str
    expression: str


class UnknownFilter(msgspec.Struct, frozen=True):
    """A filter of a later version, which nobody here passes."""


Filter: TypeAlias = NodesFilter | TagFilter | UnknownFilter


class QueryBody(msgspec.Struct, frozen=True):
    """A question to all members that pass the filters; the answers go to the address."""

    time: int
    id: int
    address: bytes
    port: int
    source: str
    name: str
    payload: bytes = b""
    filters: Sequence[Filter] = ()
    flags: int = 0
    relay_factor: int = 0
    timeout_ns: int = 0


class Response(msgspec.Struct, frozen=True):
    """An answer to the query of this time and id."""

    time: int
    id: int
    source: str
    payload: bytes = b""
    flags: int = 0


class Relay(msgspec.Struct, frozen=True):
    """`body` is for somebody else, whom it may not reach directly."""

    address: str
    port: int
    node: str
    body: bytes


def encode_state(fields: Mapping[str, Any]) -> bytes:
    """The bytes of Serf's part of a push/pull, type byte first."""
    return bytes((STATE,)) + pack_map(fields)


def decode_state(body: bytes) -> dict[Any, Any]:
    """The fields of Serf's part of a push/pull; none when it is of another kind. Raises Invalid."""
    return unpack_map(memoryview(body)[1:]) if body[:1] == bytes((STATE,)) else {}


def encode_query(query: QueryBody) -> bytes:
    """The bytes of a query, type byte first."""
    fields = {
        "Addr": query.address,
        "Filters": [_encode_filter(one) for one in query.filters] or None,
        "Flags": query.flags,
        "ID": query.id,
        "LTime": query.time,
        "Name": query.name,
        "Payload": query.payload,
        "Port": query.port,
        "RelayFactor": query.relay_factor,
        "SourceNode": query.source,
        "Timeout": signed(query.timeout_ns),
    }
    return bytes((QUERY,)) + pack_map(fields)


def decode_query(body: bytes) -> QueryBody:
    """Read a query, type byte first. Raises Invalid."""
    fields = unpack_map(memoryview(body)[1:])
    query = QueryBody(
        time=number(fields, "LTime", TIME_MAX),
        id=number(fields, "ID", _U32),
        address=raw(fields, "Addr"),
        port=number(fields, "Port", _U16),
        source=text(fields, "SourceNode"),
        name=text(fields, "Name"),
        payload=raw(fields, "Payload"),
        filters=[_decode_filter(one) for one in _blobs(fields)],
        flags=number(fields, "Flags", _U32),
        relay_factor=number(fields, "RelayFactor", 255),
        timeout_ns=number(fields, "Timeout", _I64),
    )
    if len(query.address) not in {4, 16}:
        raise Invalid("Addr: expected 4 or 16 bytes")
    return query


def _blobs(fields: Mapping[bytes, Any]) -> list[bytes]:
    blobs = fields.get(b"Filters") or []
    if not isinstance(blobs, list) or len(blobs) > FILTERS_MAX:
        raise Invalid(f"Filters: expected a list of at most {FILTERS_MAX}")
    if not all(isinstance(blob, bytes) and blob for blob in blobs):
        raise Invalid("Filters: expected bytes")
    return blobs


def _encode_filter(one: Filter) -> bytes:
    if isinstance(one, NodesFilter):
        names: bytes = msgpack.packb(
            list(one.nodes), use_bin_type=False, unicode_errors="surrogateescape"
        )
        return bytes((NODES,)) + names
    assert isinstance(one, TagFilter), "the others come from the network only"
    # Not pack_map: Go writes an empty string as such.
    fields = {"Expr": one.expression, "Tag": one.tag}
    packed: bytes = msgpack.packb(fields, use_bin_type=False, unicode_errors="surrogateescape")
    return bytes((TAG,)) + packed


def _decode_filter(blob: bytes) -> Filter:
    if blob[0] == TAG:
        fields = unpack_map(blob[1:])
        return TagFilter(text(fields, "Tag"), text(fields, "Expr"))
    if blob[0] != NODES:
        return UnknownFilter()
    try:
        names = msgpack.unpackb(blob[1:], raw=True, max_array_len=FILTER_NODES_MAX)
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError) as error:
        raise Invalid(f"Filters: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise Invalid("Filters: expected a list of names")
    return NodesFilter([name.decode("utf-8", "surrogateescape") for name in names])


def encode_response(response: Response) -> bytes:
    """The bytes of an answer or acknowledgement, type byte first."""
    fields = {
        "Flags": response.flags,
        "From": response.source,
        "ID": response.id,
        "LTime": response.time,
        "Payload": response.payload,
    }
    return bytes((RESPONSE,)) + pack_map(fields)


def decode_response(body: bytes) -> Response:
    """Read an answer or acknowledgement, type byte first. Raises Invalid."""
    fields = unpack_map(memoryview(body)[1:])
    return Response(
        time=number(fields, "LTime", TIME_MAX),
        id=number(fields, "ID", _U32),
        source=text(fields, "From"),
        payload=raw(fields, "Payload"),
        flags=number(fields, "Flags", _U32),
    )


def encode_relay(address: bytes, port: int, node: str, body: bytes) -> bytes:
    """The bytes that ask whoever gets them to pass the body on, type byte first."""
    # Go's UDPAddr has a signed port, and an empty Zone that is not nil.
    there = Packed(pack_map({"IP": address, "Port": signed(port), "Zone": ""}))
    return bytes((RELAY,)) + pack_map({"DestAddr": there, "DestName": node}) + body


def decode_relay(body: bytes) -> Relay:
    """Read a relay, type byte first. Raises Invalid."""
    unpacker = msgpack.Unpacker(raw=True, max_buffer_size=max(len(body), 1), max_array_len=64)
    unpacker.feed(memoryview(body)[1:])
    try:
        fields = unpacker.unpack()
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError) as error:
        raise Invalid(f"not a msgpack map: {error}") from error
    there = fields.get(b"DestAddr") if isinstance(fields, dict) else None
    if not isinstance(there, dict):
        raise Invalid("DestAddr: expected a map")
    address, port = raw(there, "IP"), number(there, "Port", _U16)
    if len(address) not in {4, 16} or not port:
        raise Invalid("DestAddr: expected IP of 4 or 16 bytes and a port")
    node = text(fields, "DestName") if b"DestName" in fields else ""
    return Relay(host(address), port, node, body[1 + unpacker.tell() :])
