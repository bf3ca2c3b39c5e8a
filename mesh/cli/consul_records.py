"""Consul's snapshots: what is in them, as rows of mesh.

The file is a gzip'd tar; its `state.bin` is a msgpack map with the last index, then records that
are a number, which says what it is, and a msgpack value with Go's field names. Text and bytes have
the same type there, so everything is read as bytes, and what is text is told by where it stands.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

import msgpack
import msgspec

from mesh.cli.consul_rows import (
    coordinate,
    entry,
    pair,
    query,
    registration,
    session,
    settings,
)
from mesh.errors import Invalid
from mesh.registry.autopilot import Settings
from mesh.registry.catalog import Register
from mesh.registry.coordinates import Place
from mesh.registry.entries import Entry
from mesh.registry.kv import Pair
from mesh.registry.prepared_rows import Prepared
from mesh.registry.sessions import Session

RECORD_BYTES_MAX = 64 << 20

Record = Register | Session | Pair | Prepared | Entry | Place | Settings

NAMES = {
    0: "Register",
    2: "KVS",
    3: "Session",
    5: "Tombstone",
    6: "CoordinateBatchUpdate",
    7: "PreparedQuery",
    9: "Autopilot",
    11: "ACLBootstrap",
    12: "Intention",
    13: "ConnectCA",
    14: "ConnectCAProviderState",
    15: "ConnectCAConfig",
    16: "Index",
    17: "ACLToken",
    19: "ACLPolicy",
    22: "ConfigEntry",
    23: "ACLRole",
    25: "ACLBindingRule",
    27: "ACLAuthMethod",
    29: "ChunkingState",
    30: "FederationState",
    31: "SystemMetadata",
    32: "ServiceVirtualIP",
    33: "FreeVirtualIP",
    34: "KindServiceNames",
    35: "Peering",
    38: "PeeringTrustBundle",
    40: "PeeringSecrets",
    42: "Resource",
}
"""What the numbers of records mean."""
INTENTIONALLY = {
    "Tombstone": "deleted keys, which only blocked queries of Consul need",
    "Index": "log indexes of Consul",
    "ACLToken": "access control",
    "ACLPolicy": "access control",
    "ACLRole": "access control",
    "ACLBindingRule": "access control",
    "ACLAuthMethod": "access control",
    "ACLBootstrap": "access control",
    "Intention": "intentions of before Consul 1.9",
    "ConnectCA": "Consul's certificate authority",
    "ConnectCAProviderState": "Consul's certificate authority",
    "ConnectCAConfig": "Consul's certificate authority",
    "FederationState": "federation of Consul",
    "SystemMetadata": "notes of Consul about itself",
    "ServiceVirtualIP": "virtual addresses of Consul",
    "FreeVirtualIP": "virtual addresses of Consul",
    "KindServiceNames": "an index of Consul",
    "ChunkingState": "a log entry of Consul in parts",
    "Peering": "peerings",
    "PeeringTrustBundle": "peerings",
    "PeeringSecrets": "peerings",
    "Resource": "Consul's experimental resources",
}
"""Why records of these types are left out."""


class Found(msgspec.Struct):
    """One record: its type's name, and the rows of mesh it gives; or why it gives none."""

    kind: str
    records: list[Any] = []
    skipped: str = ""
    problem: str = ""
    """Why it could not be understood."""


def records(state: Iterable[bytes], prefix: str = "") -> Iterator[Found]:
    """What is in a state.bin, whose keys go under the prefix. Raises Invalid for anything else."""
    values = _values(state)
    head = next(values, None)
    if not isinstance(head, dict) or b"LastIndex" not in head:
        raise Invalid("is a snapshot, but not of Consul")
    for number in values:
        if not isinstance(number, int) or not 0 <= number < 128:
            raise Invalid("is damaged: a record does not begin with its type")
        body = next(values, None)
        if body is None:
            raise Invalid("is damaged: it ends within a record")
        yield _found(number, body, prefix)


def _values(state: Iterable[bytes]) -> Iterator[Any]:
    # Old specification: what Go calls string and []byte is one type.
    unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=RECORD_BYTES_MAX)
    try:
        fed = 0
        for portion in state:
            unpacker.feed(portion)
            fed += len(portion)
            yield from unpacker
        if unpacker.tell() != fed:
            raise Invalid("is damaged: it ends within a record")
    except (msgpack.UnpackException, msgpack.BufferFull, ValueError) as error:
        raise Invalid(f"is damaged: {error}") from error


def _found(number: int, body: Any, prefix: str) -> Found:
    kind = NAMES.get(number, f"type {number}")
    if kind in INTENTIONALLY:
        return Found(kind, skipped=INTENTIONALLY[kind])
    make = _MAKERS.get(kind)
    if make is None:
        return Found(kind, skipped="unknown to this program")
    try:
        return make(kind, body, prefix)
    except (Invalid, LookupError, TypeError, ValueError, AttributeError) as error:
        words = error.message if isinstance(error, Invalid) else repr(error)
        return Found(kind, problem=words)


def _register(kind: str, body: Any, _: str) -> Found:
    made = registration(plain(body))
    if isinstance(made, str):
        return Found(kind, skipped=made)
    made.validate()
    return Found(kind, [made])


def _pair(kind: str, body: Any, prefix: str) -> Found:
    value = body.get(b"Value") or b""
    rest = plain({key: one for key, one in body.items() if key != b"Value"})
    return Found(kind, [pair(rest, value, prefix)])


def _config(kind: str, body: Any, _: str) -> Found:
    # The kind stands in front, so that Consul knows what to read the rest as.
    parts = list(_values([body])) if isinstance(body, bytes) else [b"", body]
    made = entry(plain(parts[-1])["Entry"], text(parts[0]))
    return Found(kind, [made])


def plain(value: Any) -> Any:
    """The value with text for bytes; bytes that are no text become base64, as JSON has them."""
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, dict):
        return {text(key): plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value


def text(value: Any) -> str:
    """Text of what stands where text should be."""
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


_MAKERS = {
    "Register": _register,
    "KVS": _pair,
    "Session": lambda kind, body, _: Found(kind, [session(plain(body))]),
    "CoordinateBatchUpdate": lambda kind, body, _: Found(
        kind, [coordinate(one) for one in plain(body)]
    ),
    "PreparedQuery": lambda kind, body, _: Found(kind, [query(plain(body))]),
    "Autopilot": lambda kind, body, _: Found(kind, [settings(plain(body))]),
    "ConfigEntry": _config,
}
