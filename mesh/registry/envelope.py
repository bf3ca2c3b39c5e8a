"""Envelopes: what every log entry is, a command with who asked for it, when and from where."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from mesh.codec import pack, unpack
from mesh.registry.levels import EXACT, HIGHEST, LOWEST, readable
from mesh.registry.requests import AnyCommand

ENTRY_MAX_BYTES = 1024 * 1024
DIGEST_BYTES = 16
NEVER_SAID = -1


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """A log entry. Fields are only ever added at the end, at a new level."""

    format: int
    """The level at which it was written."""
    request: str
    """Id of the request; a second entry with the same one changes nothing."""
    time: float
    """Seconds since the Unix epoch, by the clock of the proposer."""
    author: str
    """Accessor of the token that asked, never its secret; empty for anonymous and mesh itself."""
    origin: str
    """Where it entered: node, protocol and address, such as `web-1/http/10.0.0.7`, or `leader`."""
    command: AnyCommand
    attempt: int = 0
    """How often the request may have been sent before. From level 2 on."""
    since: int = NEVER_SAID
    """A log index that was applied before the first attempt. From level 2 on."""


class _Head(msgspec.Struct, array_like=True):
    format: int


class _Asked(msgspec.Struct, array_like=True):
    format: int
    request: str
    time: float
    author: str
    origin: str
    command: msgspec.Raw


def seal(envelope: Envelope) -> bytes:
    """The bytes of the log entry, as its level has them."""
    if envelope.format >= EXACT:
        return pack(envelope)
    one = envelope
    return pack((one.format, one.request, one.time, one.author, one.origin, one.command))


def open_sealed(data: bytes, highest: int = HIGHEST) -> Envelope:
    """Read a log entry. Raises Invalid when a newer program wrote it or the bytes are bad."""
    # A short list of which a small number is the first: nearly every entry shows its level so.
    if len(data) < 2 or data[0] >> 4 != 9 or not LOWEST <= data[1] <= highest:
        readable("log entry", unpack(data, _Head).format, highest)
    return unpack(data, Envelope)


def digest(data: bytes) -> bytes:
    """A digest of the command in a log entry, of its bytes, so the same to every program."""
    return blake2b(unpack(data, _Asked).command, digest_size=DIGEST_BYTES).digest()
