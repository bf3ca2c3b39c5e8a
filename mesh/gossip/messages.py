"""Gossip messages: structs to the bytes of memberlist, and back.

Each message is a type byte and one msgpack map in the dialect of old Go encoders: strings and bytes
are both `raw`, keys are sorted, nil stands for anything empty.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgpack
import msgspec

from mesh.errors import Invalid

META_MAX_BYTES = 512
NAME_MAX_BYTES = 128
ARRAY_MAX = 2**20
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


Message: TypeAlias = Ping | IndirectPing | Ack | Nack | Suspect | Dead | Alive | User | Fault

_U8, _U16, _U32 = 2**8 - 1, 2**16 - 1, 2**32 - 1
# (key on the wire, attribute, largest value, or str, bytes or bool; left out when empty).
_Field: TypeAlias = tuple[str, str, int | type, bool]
_SOURCE: tuple[_Field, ...] = (
    ("SourceAddr", "source_address", bytes, True),
    ("SourceNode", "source_node", str, True),
    ("SourcePort", "source_port", _U16, True),
)
_SEQ: _Field = ("SeqNo", "seq", _U32, False)
_INCARNATION: _Field = ("Incarnation", "incarnation", _U32, False)
_NODE: _Field = ("Node", "node", str, False)
_ACCUSATION: tuple[_Field, ...] = (("From", "source", str, False), _INCARNATION, _NODE)
_SHAPES: dict[type, tuple[int, tuple[_Field, ...]]] = {
    Ping: (PING, (_NODE, _SEQ, *_SOURCE)),
    IndirectPing: (
        INDIRECT_PING,
        (
            ("Nack", "nack", bool, False),
            _NODE,
            ("Port", "port", _U16, False),
            _SEQ,
            *_SOURCE,
            ("Target", "target", bytes, False),
        ),
    ),
    Ack: (ACK, (("Payload", "payload", bytes, False), _SEQ)),
    Nack: (NACK, (_SEQ,)),
    Suspect: (SUSPECT, _ACCUSATION),
    Dead: (DEAD, _ACCUSATION),
    Alive: (
        ALIVE,
        (
            ("Addr", "address", bytes, False),
            _INCARNATION,
            ("Meta", "meta", bytes, False),
            _NODE,
            ("Port", "port", _U16, False),
            ("Vsn", "versions", bytes, False),
        ),
    ),
    Fault: (ERROR, (("Error", "text", str, False),)),
}
_BY_TYPE = {number: kind for kind, (number, _) in _SHAPES.items()}


def pack_map(fields: Mapping[str, Any]) -> bytes:
    """A msgpack map with sorted keys in the old dialect; empty bytes become nil."""
    plain = {key: None if value == b"" else value for key, value in sorted(fields.items())}
    packed: bytes = msgpack.packb(plain, use_bin_type=False, unicode_errors="surrogateescape")
    return packed


def unpack_map(data: bytes | memoryview) -> dict[Any, Any]:
    """Read one msgpack map. Raises Invalid."""
    try:
        fields = msgpack.unpackb(
            data, raw=True, strict_map_key=False, max_array_len=min(len(data), ARRAY_MAX)
        )
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError) as error:
        raise Invalid(f"not a msgpack map: {error}") from error
    if not isinstance(fields, dict):
        raise Invalid("not a msgpack map")
    return fields


def number(fields: Mapping[bytes, Any], key: str, largest: int) -> int:
    """An unsigned field; absent or nil is 0. Raises Invalid when out of range."""
    value = fields.get(key.encode()) or 0
    if not isinstance(value, int) or not 0 <= value <= largest:
        raise Invalid(f"{key}: expected a number from 0 to {largest}")
    return int(value)


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


def encode(message: Message) -> bytes:
    """The bytes of one message, type byte first."""
    if isinstance(message, User):
        return bytes((USER,)) + message.payload
    kind, shape = _SHAPES[type(message)]
    fields = {}
    for key, attribute, _, optional in shape:
        value = getattr(message, attribute)
        if value or not optional:
            fields[key] = value
    return bytes((kind,)) + pack_map(fields)


def decode(data: bytes) -> Message:
    """Read one plain message. Raises Invalid for bytes that are none, or out of limits."""
    if not data:
        raise Invalid("empty message")
    if data[0] == USER:
        return User(data[1:])
    kind = _BY_TYPE.get(data[0])
    if kind is None:
        raise Invalid(f"message type {data[0]} is unknown here")
    fields = unpack_map(memoryview(data)[1:])
    values: dict[str, Any] = {}
    for key, attribute, form, _ in _SHAPES[kind][1]:
        if isinstance(form, int):
            values[attribute] = number(fields, key, form)
        elif form is str:
            values[attribute] = text(fields, key)
        elif form is bytes:
            values[attribute] = raw(fields, key)
        else:
            values[attribute] = bool(fields.get(key.encode()))
    message: Message = kind(**values)
    check(message)
    return message


def check(message: Message) -> None:
    """Raise Invalid for values out of limits, above all those this node would pass on."""
    if isinstance(message, Alive | Suspect | Dead):
        check_name(message.node)
    if isinstance(message, Suspect | Dead):
        check_name(message.source, "From", least=0)
    if isinstance(message, Ping | IndirectPing):
        check_name(message.node, least=0)
    if isinstance(message, Alive):
        if len(message.address) not in {4, 16}:
            raise Invalid("Addr: expected 4 or 16 bytes")
        if len(message.meta) > META_MAX_BYTES:
            raise Invalid(f"Meta: longer than {META_MAX_BYTES} bytes")
        low, high = message.versions[:1], message.versions[1:2]
        # Fewer than six would poison the version check of every later push/pull.
        if len(message.versions) != len(VERSIONS) or low == b"\x00" or low > high:
            raise Invalid("Vsn: expected six protocol versions")


def check_name(name: str, field: str = "Node", least: int = 1) -> None:
    """Raise Invalid for a name that is too long to be passed on in any packet."""
    if not least <= len(name.encode("utf-8", "surrogateescape")) <= NAME_MAX_BYTES:
        raise Invalid(f"{field}: expected {least} to {NAME_MAX_BYTES} bytes")


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
            if isinstance(key, bytes) and (value is None or isinstance(value, bytes))
        }
    return {"role": meta.decode("utf-8", "replace")}
