"""Gossip messages: structs to the bytes of memberlist, and back.

Each message is a type byte and one msgpack map in the dialect of old Go encoders: strings and bytes
are both `raw`, keys are sorted, nil stands for anything empty.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgpack
import msgspec

from mesh.errors import Invalid

META_MAX_BYTES = 512
NAME_MAX_BYTES = 128
FAULT_MAX = 512
"""Characters that are kept of the other side's complaint: it goes to the log."""
ARRAY_MAX = 2**17
"""Items of an array in a message of the layer above."""
FIELDS_MAX = 64
"""Items of an array in a message of memberlist, which has none but versions of six."""
VERSIONS = bytes((1, 5, 2, 2, 5, 5))

PING, INDIRECT_PING, ACK, SUSPECT, ALIVE, DEAD = range(6)
PUSH_PULL, COMPOUND, USER, COMPRESS, ENCRYPT, NACK, HAS_CRC, ERROR = range(6, 14)
HAS_LABEL = 244


class Ping(msgspec.Struct, frozen=True):
    """Are you there? The answer goes to the source when it is given."""

    seq: int
    node: str = ""
    source_address: bytes = b""
    source_port: int = 0
    source_node: str = ""


class IndirectPing(msgspec.Struct, frozen=True):
    """Ping the target for me; with nack, tell me if it does not answer."""

    seq: int
    target: bytes = b""
    port: int = 0
    node: str = ""
    nack: bool = False
    source_address: bytes = b""
    source_port: int = 0
    source_node: str = ""


class Ack(msgspec.Struct, frozen=True):
    """The answer to a ping."""

    seq: int
    payload: bytes = b""


class Nack(msgspec.Struct, frozen=True):
    """I live and was asked, but the target did not answer me."""

    seq: int


class Suspect(msgspec.Struct, frozen=True):
    """`source` could not reach the node at this incarnation."""

    incarnation: int
    node: str
    source: str


class Dead(msgspec.Struct, frozen=True):
    """The node is dead at this incarnation; it left when it says so itself."""

    incarnation: int
    node: str
    source: str


class Alive(msgspec.Struct, frozen=True):
    """The node is alive at this address since this incarnation."""

    incarnation: int
    node: str
    address: bytes
    port: int
    meta: bytes = b""
    versions: bytes = VERSIONS


class User(msgspec.Struct, frozen=True):
    """A message of the layer above."""

    payload: bytes


class Fault(msgspec.Struct, frozen=True):
    """The other side of a stream says what was wrong."""

    text: str


_U16, _U32 = 2**16 - 1, 2**32 - 1

Message: TypeAlias = Ping | IndirectPing | Ack | Nack | Suspect | Dead | Alive | User | Fault

_packer = msgpack.Packer(use_bin_type=False, unicode_errors="surrogateescape")
_pack: Callable[[object], bytes] = _packer.pack


class Packed(bytes):
    """A value of a map that is msgpack already."""


def signed(value: int) -> Packed:
    """A number that is signed in Go's structs, where larger ones are written as such."""
    for kind, bits in ((0xD1, 16), (0xD2, 32), (0xD3, 64)):
        if value < 1 << (bits - 1):
            return Packed((value,) if value < 128 else (kind, *value.to_bytes(bits // 8, "big")))
    raise Invalid(f"{value}: takes more than 64 bits")


def pack_map(fields: Mapping[str, Any]) -> bytes:
    """A msgpack map with sorted keys in the old dialect; empty bytes become nil."""
    if Packed in map(type, fields.values()):
        parts = [_packer.pack_map_header(len(fields))]
        for key, value in sorted(fields.items()):
            plain = None if value == b"" else value
            parts += (_pack(key), value if type(value) is Packed else _pack(plain))
        return b"".join(parts)
    return _pack({key: None if value == b"" else value for key, value in sorted(fields.items())})


def unpack_map(data: bytes | memoryview, array_max: int = ARRAY_MAX) -> dict[bytes, Any]:
    """Read one msgpack map whose arrays, at any depth, hold `array_max` items. Raises Invalid.

    An array is given room before its items have come, at every depth anew: hence the limit.
    """
    try:
        # Keys are raw only: numbers could be chosen so that they collide in the dict.
        fields = msgpack.unpackb(data, raw=True, max_array_len=min(array_max, len(data)))
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError) as error:
        raise Invalid(f"not a msgpack map: {error}") from error
    if not isinstance(fields, dict):
        raise Invalid("not a msgpack map")
    return fields


def number(fields: Mapping[bytes, Any], key: str, largest: int) -> int:
    """An unsigned field; absent or nil is 0. Raises Invalid when out of range."""
    value = fields.get(key.encode()) or 0
    if type(value) is int and 0 <= value <= largest:
        return value
    raise Invalid(f"{key}: expected a number from 0 to {largest}")


def raw(fields: Mapping[bytes, Any], key: str) -> bytes:
    """A bytes field; absent or nil is empty. Raises Invalid for other types."""
    value = fields.get(key.encode())
    if value is None:
        return b""
    if not isinstance(value, bytes):
        raise Invalid(f"{key}: expected bytes")
    return value


def text(fields: Mapping[bytes, Any], key: str) -> str:
    """A string field that may hold any bytes; absent or nil is empty."""
    return raw(fields, key).decode("utf-8", "surrogateescape")


def name(fields: Mapping[bytes, Any], key: str, least: int = 1) -> str:
    """A node's name. Raises Invalid when it is too long to be passed on, or missing."""
    value = raw(fields, key)
    if least <= len(value) <= NAME_MAX_BYTES:
        return value.decode("utf-8", "surrogateescape")
    raise Invalid(f"{key}: expected {least} to {NAME_MAX_BYTES} bytes")


def address(fields: Mapping[bytes, Any], key: str) -> bytes:
    """An IP address; empty when it is not known. Raises Invalid for other lengths."""
    value = raw(fields, key)
    if len(value) in {0, 4, 16}:
        return value
    raise Invalid(f"{key}: expected an address of 4 or 16 bytes")


# Keys are in the order of their bytes, as Go writes them; empty bytes are nil. A function each,
# since every packet passes here: a table of fields takes twice the time.


def _add_source(fields: dict[bytes, Any], message: Ping | IndirectPing) -> None:
    if message.source_address:
        fields[b"SourceAddr"] = message.source_address
    if message.source_node:
        fields[b"SourceNode"] = message.source_node
    if message.source_port:
        fields[b"SourcePort"] = message.source_port


def _ping(message: Ping) -> bytes:
    fields = {b"Node": message.node, b"SeqNo": message.seq}
    _add_source(fields, message)
    return b"\x00" + _pack(fields)


def _indirect_ping(message: IndirectPing) -> bytes:
    fields = {
        b"Nack": message.nack,
        b"Node": message.node,
        b"Port": message.port,
        b"SeqNo": message.seq,
    }
    _add_source(fields, message)
    fields[b"Target"] = message.target or None
    return b"\x01" + _pack(fields)


def _ack(message: Ack) -> bytes:
    return b"\x02" + _pack({b"Payload": message.payload or None, b"SeqNo": message.seq})


def _nack(message: Nack) -> bytes:
    return b"\x0b" + _pack({b"SeqNo": message.seq})


def _suspect(message: Suspect) -> bytes:
    return b"\x03" + _accusation(message)


def _dead(message: Dead) -> bytes:
    return b"\x05" + _accusation(message)


def _accusation(message: Suspect | Dead) -> bytes:
    return _pack(
        {
            b"From": message.source,
            b"Incarnation": message.incarnation,
            b"Node": message.node,
        }
    )


def _alive(message: Alive) -> bytes:
    return b"\x04" + _pack(
        {
            b"Addr": message.address or None,
            b"Incarnation": message.incarnation,
            b"Meta": message.meta or None,
            b"Node": message.node,
            b"Port": message.port,
            b"Vsn": message.versions or None,
        }
    )


def _user(message: User) -> bytes:
    return b"\x08" + message.payload


def _fault(message: Fault) -> bytes:
    return b"\x0d" + _pack({b"Error": message.text})


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    Ping: _ping,
    IndirectPing: _indirect_ping,
    Ack: _ack,
    Nack: _nack,
    Suspect: _suspect,
    Dead: _dead,
    Alive: _alive,
    User: _user,
    Fault: _fault,
}


def encode(message: Message) -> bytes:
    """The bytes of one message, type byte first."""
    return _ENCODERS[type(message)](message)


_Fields: TypeAlias = dict[bytes, Any]


def _read_ping(fields: _Fields) -> Ping:
    return Ping(number(fields, "SeqNo", _U32), name(fields, "Node", 0), *_read_source(fields))


def _read_source(fields: _Fields) -> tuple[bytes, int, str]:
    return (
        address(fields, "SourceAddr"),
        number(fields, "SourcePort", _U16),
        name(fields, "SourceNode", 0),
    )


def _read_indirect_ping(fields: _Fields) -> IndirectPing:
    return IndirectPing(
        number(fields, "SeqNo", _U32),
        address(fields, "Target"),
        number(fields, "Port", _U16),
        name(fields, "Node", 0),
        bool(fields.get(b"Nack")),
        *_read_source(fields),
    )


def _read_ack(fields: _Fields) -> Ack:
    return Ack(number(fields, "SeqNo", _U32), raw(fields, "Payload"))


def _read_nack(fields: _Fields) -> Nack:
    return Nack(number(fields, "SeqNo", _U32))


def _read_suspect(fields: _Fields) -> Suspect:
    return Suspect(
        number(fields, "Incarnation", _U32), name(fields, "Node"), name(fields, "From", 0)
    )


def _read_dead(fields: _Fields) -> Dead:
    return Dead(number(fields, "Incarnation", _U32), name(fields, "Node"), name(fields, "From", 0))


def _read_alive(fields: _Fields) -> Alive:
    message = Alive(
        number(fields, "Incarnation", _U32),
        name(fields, "Node"),
        raw(fields, "Addr"),
        number(fields, "Port", _U16),
        raw(fields, "Meta"),
        raw(fields, "Vsn"),
    )
    check(message)
    return message


def _read_fault(fields: _Fields) -> Fault:
    return Fault(raw(fields, "Error")[: 4 * FAULT_MAX].decode("utf-8", "replace")[:FAULT_MAX])


_DECODERS: dict[int, Callable[[_Fields], Message]] = {
    PING: _read_ping,
    INDIRECT_PING: _read_indirect_ping,
    ACK: _read_ack,
    NACK: _read_nack,
    SUSPECT: _read_suspect,
    DEAD: _read_dead,
    ALIVE: _read_alive,
    ERROR: _read_fault,
}


def decode(data: bytes) -> Message:
    """Read one plain message. Raises Invalid for bytes that are none, or out of limits."""
    if not data:
        raise Invalid("empty message")
    if data[0] == USER:
        return User(data[1:])
    reader = _DECODERS.get(data[0])
    if reader is None:
        raise Invalid(f"message type {data[0]} is unknown here")
    return reader(unpack_map(data[1:], FIELDS_MAX))


def read_message(kind: int, fields: dict[bytes, Any]) -> Message:
    """The message of this type, from a map already unpacked. Raises Invalid."""
    return _DECODERS[kind](fields)


def check(message: Alive) -> None:
    """Raise Invalid for news this node would not want to pass on, or could not."""
    check_name(message.node)
    if len(message.address) not in {4, 16}:
        raise Invalid("Addr: expected 4 or 16 bytes")
    if len(message.meta) > META_MAX_BYTES:
        raise Invalid(f"Meta: longer than {META_MAX_BYTES} bytes")
    low, high = message.versions[:1], message.versions[1:2]
    # Fewer than six would poison the version check of every later push/pull.
    if len(message.versions) != len(VERSIONS) or low == b"\x00" or low > high:
        raise Invalid("Vsn: expected six protocol versions")


def check_name(name: str, field: str = "Node") -> None:
    """Raise Invalid for a name that is empty or too long to be passed on in any packet."""
    if not 1 <= len(name.encode("utf-8", "surrogateescape")) <= NAME_MAX_BYTES:
        raise Invalid(f"{field}: expected 1 to {NAME_MAX_BYTES} bytes")


@functools.lru_cache(2**14)
def host(address: bytes) -> str:
    """An IP address of 4 or 16 bytes as text; Go writes some IPv4 addresses in 16."""
    ip = ipaddress.ip_address(address)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def encode_tags(tags: Mapping[str, str]) -> bytes:
    """Serf's tags as node metadata. Raises Invalid when they take more than 512 bytes."""
    meta = b"\xff" + pack_map(dict(tags))
    if len(meta) > META_MAX_BYTES:
        raise Invalid(f"tags: take {len(meta)} bytes; the limit is {META_MAX_BYTES}")
    return meta


def decode_tags(meta: bytes) -> dict[str, str]:
    """The tags in node metadata; metadata in no known form is the legacy role.

    Never raises; what is not UTF-8 is replaced, since tags are for people and JSON.
    """
    if meta[:1] == b"\xff":
        try:
            fields = unpack_map(memoryview(meta)[1:])
        except Invalid:
            return {}
        return {
            key.decode("utf-8", "replace"): (value or b"").decode("utf-8", "replace")
            for key, value in fields.items()
            if value is None or isinstance(value, bytes)
        }
    return {"role": meta.decode("utf-8", "replace")}
