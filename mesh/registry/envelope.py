"""Envelopes: what every log entry is, a command with who asked for it, when and from where."""

from __future__ import annotations

import msgspec

from mesh.codec import pack, unpack
from mesh.errors import Invalid
from mesh.registry.requests import AnyCommand

FORMAT = 1
ENTRY_MAX_BYTES = 1024 * 1024


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A log entry. Fields are only ever added at the end, under a new format number."""

    format: int
    request: str
    """UUID of the request; a second entry with the same one changes nothing."""
    time: float
    """Seconds since the Unix epoch, by the clock of the proposer."""
    author: str
    """Accessor of the token that asked, never its secret; empty for anonymous and mesh itself."""
    origin: str
    """Where the request entered, such as `http web-1`."""
    command: AnyCommand


class _Head(msgspec.Struct, array_like=True):
    format: int


def seal(envelope: Envelope) -> bytes:
    """The bytes of the log entry."""
    return pack(envelope)


def open_sealed(data: bytes) -> Envelope:
    """Read a log entry. Raises Invalid when a newer program wrote it or the bytes are bad."""
    head = unpack(data, _Head)
    if head.format != FORMAT:
        raise Invalid(f"log entry of format {head.format}; this program knows {FORMAT}")
    return unpack(data, Envelope)
