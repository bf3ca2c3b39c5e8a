"""LZW as memberlist uses it: least significant bit first, eight-bit literals (as in GIF)."""

from __future__ import annotations

from mesh.errors import Invalid

CLEAR, END, FIRST_FREE = 256, 257, 258
WIDTH_START, WIDTH_MAX = 9, 12
LAST = (1 << WIDTH_MAX) - 1
_EMPTY = bytes.fromhex("000302")
_LITERALS = [bytes((value,)) for value in range(256)] + [b"", b""]


def compress(data: bytes) -> bytes:
    """Pack, bit for bit as Go does: a clear code first, and another when the table is full."""
    if not data:
        return _EMPTY
    output = bytearray()
    # From a code already written and the byte after it to the code of both together.
    table: dict[int, int] = {}
    width, counter = WIDTH_START, END
    bits, held = CLEAR, WIDTH_START
    code = data[0]
    for value in memoryview(data)[1:]:
        longer = code << 8 | value
        known = table.get(longer)
        if known is not None:
            code = known
            continue
        bits |= code << held
        held += width
        counter += 1
        if counter >> width:
            width += 1
        if counter == LAST:
            bits |= CLEAR << held
            held += width
            width, counter = WIDTH_START, END
            table.clear()
        else:
            table[longer] = counter
        code = value
        if held >= 64:
            output += (bits & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")
            bits >>= 64
            held -= 64
    bits |= code << held | END << held + width
    held += width
    # The counter goes on once more, which may widen the end code alone.
    if counter + 1 >> width and width < WIDTH_MAX:
        width += 1
    output += bits.to_bytes((held + width + 7) // 8, "little")
    return bytes(output)


def decompress(data: bytes, limit: int) -> bytes:
    """Unpack; accepts streams without a leading clear code and full tables (deferred clears).

    Raises Invalid for a code that cannot be, a missing end or more than `limit` bytes.
    """
    table, width, mask = list(_LITERALS), WIDTH_START, (1 << WIDTH_START) - 1
    size, previous = FIRST_FREE, b""
    output = bytearray()
    bits = held = 0
    for byte in data:
        bits |= byte << held
        held += 8
        if held < width:
            continue
        code = bits & mask
        bits >>= width
        held -= width
        if code == END:
            return bytes(output)
        if code == CLEAR:
            if size > FIRST_FREE:
                table, width, mask = list(_LITERALS), WIDTH_START, (1 << WIDTH_START) - 1
            size, previous = FIRST_FREE, b""
            continue
        piece = table[code] if code < size else _newest(code, size, previous)
        output += piece
        if len(output) > limit:
            raise Invalid(f"compressed data unpacks to more than {limit} bytes")
        if previous and size <= LAST:
            table.append(previous + piece[:1])
            size += 1
        previous = piece
        # The encoder counts one code ahead of this table.
        if size > mask and width < WIDTH_MAX:
            width += 1
            mask = (1 << width) - 1
    raise Invalid("compressed data ends without an end code")


def _newest(code: int, size: int, previous: bytes) -> bytes:
    if code == size and previous and size <= LAST:
        return previous + previous[:1]
    raise Invalid(f"compressed data holds the code {code} before it is defined")
