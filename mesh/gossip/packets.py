"""Datagrams: messages packed together, and taken apart whatever wraps them."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from mesh.errors import Invalid
from mesh.gossip import lzw
from mesh.gossip.messages import (
    COMPOUND,
    COMPRESS,
    FIELDS_MAX,
    HAS_CRC,
    Alive,
    Dead,
    Message,
    Suspect,
    decode,
    encode,
    number,
    pack_map,
    raw,
    unpack_map,
)

PACKET_BYTES = 1400
COMPOUND_HEAD_BYTES = 2
PART_HEAD_BYTES = 2
PARTS_MAX = 255
NESTING_MAX = 4
MESSAGES_MAX = 4096
"""Parts of compound messages in one datagram, at any depth together."""
UNPACKED_MAX_BYTES = 128 * 1024
"""All that one datagram may unpack to, at any depth together."""

NEWS_KEPT_MAX = 4096
"""Encoded news that is kept, all pools of a process together; some 700 bytes each at most."""


_NEWS = (Suspect, Dead, Alive)


@functools.lru_cache(NEWS_KEPT_MAX)
def _encode_news(news: Alive | Suspect | Dead) -> bytes:
    return encode(news)


def encoded(message: Message) -> bytes:
    """The bytes of one message. News is sent many times, so its bytes are kept."""
    if isinstance(message, _NEWS):
        return _encode_news(message)
    return encode(message)


def size(message: Message) -> int:
    """How many bytes it takes."""
    return len(_encode_news(message) if isinstance(message, _NEWS) else encode(message))


def join(parts: Sequence[bytes], *, crc: bool, compress: bool = False) -> bytes:
    """One datagram of encoded messages. crc: the receiver is known to check it.

    compress: pack it, if that makes it smaller.
    """
    if len(parts) == 1:
        packet = parts[0]
    else:
        assert len(parts) <= PARTS_MAX, "the queue draws fewer"
        lengths = b"".join(len(part).to_bytes(2, "big") for part in parts)
        packet = bytes((COMPOUND, len(parts))) + lengths + b"".join(parts)
    if compress and len(small := pack(packet)) < len(packet):
        packet = small
    if crc:
        packet = bytes((HAS_CRC,)) + zlib.crc32(packet).to_bytes(4, "big") + packet
    return packet


def split(packet: bytes) -> tuple[list[Message], list[Invalid]]:
    """The messages in a datagram, and what was wrong with the rest of it."""
    splitter = _Splitter()
    try:
        if packet[:1] == bytes((HAS_CRC,)):
            packet = _checked(packet)
        splitter.split(packet, NESTING_MAX)
    except Invalid as problem:
        splitter.problems.append(problem)
    return splitter.messages, splitter.problems


def _checked(packet: bytes) -> bytes:
    body = packet[5:]
    if int.from_bytes(packet[1:5], "big") != zlib.crc32(body):
        raise Invalid("checksum of the datagram is wrong")
    return body


class _Splitter:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.problems: list[Invalid] = []
        self._left = UNPACKED_MAX_BYTES
        self._parts_left = MESSAGES_MAX

    def split(self, packet: bytes, nesting: int) -> None:
        if nesting == 0:
            raise Invalid(f"messages are nested more than {NESTING_MAX} deep")
        kind = packet[0] if packet else -1
        if kind == COMPRESS:
            self.split(self._unpack(packet), nesting - 1)
        elif kind == COMPOUND:
            for part in self._allowed(_parts(packet, self.problems)):
                try:
                    self.split(part, nesting - 1)
                except Invalid as problem:
                    self.problems.append(problem)
        else:
            self.messages.append(decode(packet))

    def _allowed(self, parts: list[bytes]) -> list[bytes]:
        allowed = parts[: self._parts_left]
        self._parts_left -= len(allowed)
        if len(allowed) < len(parts):
            self.problems.append(Invalid(f"datagram of more than {MESSAGES_MAX} messages"))
        return allowed

    def _unpack(self, packet: bytes) -> bytes:
        # Also charged when it fails: a datagram may hold many of these.
        allowed, self._left = self._left, 0
        content = unpack(unpack_map(packet[1:], FIELDS_MAX), allowed)
        self._left = allowed - len(content)
        return content


def pack(content: bytes) -> bytes:
    """A compress message with this content."""
    return bytes((COMPRESS,)) + pack_map({"Algo": 0, "Buf": lzw.compress(content)})


def unpack(fields: Mapping[bytes, Any], limit: int) -> bytes:
    """The content of a compress message, from its fields. Raises Invalid."""
    if number(fields, "Algo", 255) != 0:
        raise Invalid("Algo: only 0 (LZW) is known")
    content = lzw.decompress(raw(fields, "Buf"), limit)
    if not content:
        raise Invalid("compressed data is empty")
    return content


def _parts(packet: bytes, problems: list[Invalid]) -> list[bytes]:
    count = packet[1] if len(packet) > 1 else 0
    start = COMPOUND_HEAD_BYTES + count * PART_HEAD_BYTES
    if count == 0 or len(packet) < start:
        raise Invalid("compound message ends within its lengths")
    parts = []
    for place in range(COMPOUND_HEAD_BYTES, start, PART_HEAD_BYTES):
        length = int.from_bytes(packet[place : place + 2], "big")
        if start + length > len(packet):
            problems.append(Invalid("compound message is cut short"))
            break
        parts.append(packet[start : start + length])
        start += length
    return parts
