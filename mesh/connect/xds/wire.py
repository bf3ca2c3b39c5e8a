"""Discovery responses as bytes: each is put together from resources that are encoded already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mesh.connect.xds.snapshot import Resource


def delta(kind: str, nonce: str, put: Iterable[Resource], removed: Sequence[str]) -> bytes:
    """A DeltaDiscoveryResponse."""
    parts: list[bytes] = []
    for resource in put:
        body = b"".join(
            (
                _text(1, resource.version),
                _field(2, resource.packed),
                _text(3, resource.name),
            )
        )
        parts.append(_field(2, body))
    parts += [_text(4, kind), _text(5, nonce)]
    parts += [_text(6, name) for name in removed]
    return b"".join(parts)


def whole(kind: str, nonce: str, version: str, resources: Iterable[Resource]) -> bytes:
    """A DiscoveryResponse, of the state-of-the-world form."""
    parts = [_text(1, version)]
    parts += [_field(2, resource.packed) for resource in resources]
    parts += [_text(4, kind), _text(5, nonce)]
    return b"".join(parts)


def message_any(kind: str, content: bytes) -> bytes:
    """A google.protobuf.Any."""
    return _text(1, kind) + _field(2, content)


def field(number: int, content: bytes) -> bytes:
    """A field with a length: a message, bytes or text."""
    return _field(number, content)


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode()) if text else b""


def _field(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
