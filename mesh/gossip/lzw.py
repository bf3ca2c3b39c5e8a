"""LZW as memberlist uses it: least significant bit first, eight-bit literals (as in GIF).

Only decompression: whoever compresses less is understood by everybody, and in Python packing costs
more time than the bytes it saves.
"""

from __future__ import annotations

from mesh.errors import Invalid

CLEAR, END, FIRST_FREE = 256, 257, 258
WIDTH_START, WIDTH_MAX = 9, 12
_LITERALS = [bytes((value,)) for value in range(256)] + [b"", b""]


def decompress(data: bytes, limit: int) -> bytes:
    """Unpack; accepts streams without a leading clear code and full tables (deferred clears).

    Raises Invalid for a code that cannot be, a missing end or more than `limit` bytes.
    """
    table, width = list(_LITERALS), WIDTH_START
    previous, size = b"", 0
    output: list[bytes] = []
    bits = held = 0
    for byte in data:
        bits |= byte << held
        held += 8
        if held < width:
            continue
        code = bits & ((1 << width) - 1)
        bits >>= width
        held -= width
        if code == END:
            return b"".join(output)
        if code == CLEAR:
            table, width, previous = list(_LITERALS), WIDTH_START, b""
            continue
        piece = _piece(table, code, previous)
        size += len(piece)
        if size > limit:
            raise Invalid(f"compressed data unpacks to more than {limit} bytes")
        output.append(piece)
        if previous and len(table) < 1 << WIDTH_MAX:
            table.append(previous + piece[:1])
        previous = piece
        # The encoder counts one code ahead of this table.
        if len(table) + 1 > 1 << width and width < WIDTH_MAX:
            width += 1
    raise Invalid("compressed data ends without an end code")


def _piece(table: list[bytes], code: int, previous: bytes) -> bytes:
    if code < len(table):
        return table[code]
    if code == len(table) and previous and code < 1 << WIDTH_MAX:
        return previous + previous[:1]
    raise Invalid(f"compressed data holds the code {code} before it is defined")
