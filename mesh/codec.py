"""Structs to bytes and back: msgpack between nodes and on disk, JSON for people."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from mesh.errors import Invalid

T = TypeVar("T")
DEPTH_MAX = 64
"""Values within values, where any are allowed."""

_pack = msgspec.msgpack.Encoder(order="deterministic").encode
_json = msgspec.json.Encoder().encode


def pack(value: object) -> bytes:
    """Encode structs and plain values as msgpack; equal values give equal bytes."""
    return _pack(value)


def unpack(data: bytes | memoryview, kind: type[T]) -> T:
    """Decode msgpack as `kind`. Raises Invalid, naming the place, when the bytes do not fit it."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot decode {kind}: {error}") from error


def check_depth(field: str, value: object, depth: int = DEPTH_MAX) -> None:
    """Raise Invalid, naming the field, for a plain value that is nested too deeply.

    To read it back could overflow the stack: of a server that applies the log, for ever.
    """
    if not isinstance(value, dict | list):
        return
    if not depth:
        raise Invalid(f"{field}: nested more than {DEPTH_MAX} deep")
    for inside in value.values() if isinstance(value, dict) else value:
        check_depth(field, inside, depth - 1)


def to_json(value: object, indent: int = 0) -> bytes:
    """Encode as JSON; bytes become base64. With indent, one field a line."""
    data = _json(value)
    return msgspec.json.format(data, indent=indent) if indent else data


def from_json(data: bytes | str, kind: type[T]) -> T:
    """Decode JSON as `kind`. Raises Invalid, naming the field, when the text does not fit it."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Invalid(str(error)) from error


def convert(value: Any, kind: type[T]) -> T:
    """Turn plain dicts and lists into `kind`. Raises Invalid, naming the field."""
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error
