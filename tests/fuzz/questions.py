"""Changes that know DNS: to counts, labels, pointers, classes, flags and options of a message."""

from __future__ import annotations

import random
import struct

HEADER = 12
MOST = 8192
COUNTS = (0, 1, 2, 3, 31, 32, 33, 255, 256, 0x7FFF, 0xFFFF)
CLASSES = (0, 2, 3, 4, 254, 255, 0x8001, 0xFFFF)
SIZES = (0, 1, 12, 511, 512, 513, 1232, 4096, 65_467, 65_468, 65_535)
KINDS = (0, 1, 2, 5, 6, 12, 16, 28, 33, 41, 65, 249, 250, 251, 252, 255, 256, 65_535)


def changed(data: bytes, seed: int) -> bytes:
    """The message with a few things in it changed; the same for the same seed."""
    dice = random.Random(seed)
    out = bytearray(data.ljust(HEADER, b"\0"))
    for _ in range(dice.choice((1, 1, 1, 2, 3, 5))):
        dice.choice(_CHANGES)(out, dice)
    return bytes(out[: dice.choice((MOST, MOST, MOST, dice.randrange(len(out) + 1)))])[:MOST]


def _end_of_name(data: bytearray) -> int:
    """Behind the name of the first question, or as far as that can be followed."""
    at = HEADER
    while at < len(data) and 0 < data[at] < 0x40:
        at += 1 + data[at]
    return min(at + 1, len(data))


def _count(out: bytearray, dice: random.Random) -> None:
    struct.pack_into("!H", out, 4 + 2 * dice.randrange(4), dice.choice(COUNTS))


def _no_question(out: bytearray, dice: random.Random) -> None:
    struct.pack_into("!H", out, 4, 0)
    if dice.randrange(2):
        del out[HEADER:]


def _many_questions(out: bytearray, dice: random.Random) -> None:
    times = dice.choice((2, 3, 32, 33, 200))
    end = min(_end_of_name(out) + 4, len(out))
    again = out[HEADER:end] if dice.randrange(2) else b"\xc0\x0c\0\1\0\1"
    out[end:end] = again * (times - 1)
    struct.pack_into("!H", out, 4, times)


def _pointer(out: bytearray, dice: random.Random) -> None:
    """A compressed name: to itself, back, ahead, or beyond the end."""
    at = dice.randrange(HEADER, len(out) + 1)
    if dice.randrange(3):
        at = dice.choice((HEADER, max(HEADER, _end_of_name(out) - 1)))
    to = dice.choice((at, HEADER, 0, at + 2, max(0, at - 2), 0x3FFF, dice.randrange(0x4000)))
    out[at : at + dice.randrange(3)] = struct.pack("!H", 0xC000 | (to & 0x3FFF))


def _label(out: bytearray, dice: random.Random) -> None:
    """One too long, of no kind, or empty."""
    length = dice.choice((0, 1, 62, 63, 64, 65, 127, 128, 191, 192, 255))
    text = bytes(dice.choice(b"a-_.\0\xff\xc0 ") for _ in range(dice.choice((length, 0, 63))))
    out[HEADER:HEADER] = bytes((length,)) + text


def _long_name(out: bytearray, dice: random.Random) -> None:
    size = dice.choice((1, 31, 61, 63))
    label = bytes((size,)) + b"x" * size
    out[HEADER:HEADER] = label * dice.choice((3, 4, 100, 127, 128))


def _class(out: bytearray, dice: random.Random) -> None:
    at = _end_of_name(out) + 2
    if at + 2 <= len(out):
        struct.pack_into("!H", out, at, dice.choice(CLASSES))


def _kind(out: bytearray, dice: random.Random) -> None:
    at = _end_of_name(out)
    if at + 2 <= len(out):
        struct.pack_into("!H", out, at, dice.choice(KINDS))


def _flags(out: bytearray, dice: random.Random) -> None:
    """Answers, other operations, and bits that mean nothing in a question."""
    which = dice.choice((0x8000, 0x0800, 0x1000, 0x2000, 0x2800, 0x7800, 0x0400, 0x0200, 0x00FF))
    struct.pack_into("!H", out, 2, struct.unpack_from("!H", out, 2)[0] ^ which)


def _option(out: bytearray, dice: random.Random) -> None:
    """An OPT record, or two; with options whose lengths may lie."""
    subnet = struct.pack("!HBB", dice.randrange(4), dice.randrange(140), 0) + b"\x0a" * 4
    value = dice.choice((b"", subnet, b"x" * 8))
    head = struct.pack("!HH", dice.choice((8, 10, 12, 65_001)), dice.choice((len(value), 0, 255)))
    data = dice.choice((b"", head, head + value))
    rest = dice.choice((0, 0x8000, 0x0001_0000, 0xFFFF_FFFF))
    length = dice.choice((len(data), len(data), 0, 0xFFFF))
    out += b"\0" + struct.pack("!HHIH", 41, dice.choice(SIZES), rest, length) + data
    count = struct.unpack_from("!H", out, 10)[0]
    struct.pack_into("!H", out, 10, (count + 1) & 0xFFFF)


def _byte(out: bytearray, dice: random.Random) -> None:
    out[dice.randrange(len(out))] = dice.randrange(256)


def _more(out: bytearray, dice: random.Random) -> None:
    out += dice.randbytes(dice.choice((1, 2, 10, 100, 1000)))


_CHANGES = (
    *(_count, _no_question, _many_questions, _pointer, _label, _long_name),
    *(_class, _kind, _flags, _option, _byte, _more),
)


def faults(data: bytes) -> set[str]:
    """What is wrong with a message, by the names in `FAULTS`."""
    if len(data) < HEADER:
        return {"too short"}
    _, flags, *counts = struct.unpack_from("!6H", data)
    found = set()
    if flags & 0x8000:
        found.add("an answer")
    if flags & 0x7800:
        found.add("no query")
    if not counts[0]:
        found.add("no question")
    if counts[0] > 1:
        found.add("many questions")
    if 11 * sum(counts[1:]) > len(data) - HEADER or 5 * counts[0] > len(data) - HEADER:
        found.add("lying counts")
    found |= _faults_of_name(data)
    end = _end_of_name(bytearray(data))
    if "compressed" not in found and data[end + 2 : end + 4] not in {b"\0\1", b""}:
        found.add("wrong class")
    return found


def _faults_of_name(data: bytes) -> set[str]:
    at = HEADER
    while at < len(data) and 0 < data[at] < 0x40:
        at += 1 + data[at]
    if at >= len(data):
        return {"a name without end"}
    if at + 1 - HEADER > 255:
        return {"a long name"}
    if data[at] >= 0xC0:
        to = int.from_bytes(data[at : at + 2]) & 0x3FFF
        return {"compressed", "a loop"} if HEADER <= to <= at else {"compressed"}
    return {"an oversized label"} if data[at] else set()


FAULTS = frozenset(
    """
    too short|an answer|no query|no question|many questions|lying counts|wrong class
    |a name without end|a long name|compressed|a loop|an oversized label
    """.replace("\n", "")
    .replace("    ", "")
    .split("|")
)
"""What can be wrong."""
