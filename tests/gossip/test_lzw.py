"""LZW: what Go's encoder writes can be read, and nothing but Invalid comes out of other bytes."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.gossip.lzw import END, compress, decompress


class Writer:
    """Codes of growing width, least significant bit first."""

    def __init__(self) -> None:
        self.bits = self.held = 0
        self.width = 9

    def put(self, code: int) -> None:
        self.bits |= code << self.held
        self.held += self.width

    def data(self) -> bytes:
        return self.bits.to_bytes((self.held + 7) // 8, "little")


def test_the_golden_vector() -> None:
    packed = bytes.fromhex("00c3881943462041830507263ca810a1c38610194a5c48f1e1448b640202")
    assert decompress(packed, 80) == b"abcd" * 20
    assert compress(b"abcd" * 20) == packed


@given(st.binary(max_size=2000) | st.text("ab", max_size=3000).map(str.encode))
def test_what_was_compressed_is_unpacked(data: bytes) -> None:
    assert decompress(compress(data), len(data)) == data


def test_the_table_fills_and_is_cleared() -> None:
    data = bytes((number * number * 31 + number // 7) % 251 for number in range(30_000))
    assert decompress(compress(data), len(data)) == data


def test_a_full_table_without_a_clear_is_read_on() -> None:
    # Deferred clear: 4,000 literals fill the table; from then on it only reads.
    out, expected = Writer(), bytearray()
    size = 258
    for number in range(6000):
        out.put(number % 256)
        expected.append(number % 256)
        if number:
            size = min(size + 1, 4096)
        if size + 1 > 1 << out.width and out.width < 12:
            out.width += 1
    out.put(END)
    assert decompress(out.data(), 6000) == bytes(expected)


@given(st.integers(250, 4200), st.integers(1, 255))
def test_codes_grow_where_go_lets_them(count: int, step: int) -> None:
    # Bytes without any repetition of pairs for a while: each byte is a code.
    data = bytes(number * step % 256 for number in range(count))
    assert decompress(compress(data), count) == data


def test_nothing_is_packed_as_go_packs_it() -> None:
    assert compress(b"") == bytes.fromhex("000302")
    assert decompress(compress(b""), 0) == b""


def test_limits_and_cuts_are_invalid() -> None:
    packed = compress(b"abcd" * 20)
    with pytest.raises(Invalid, match="more than 79 bytes"):
        decompress(packed, 79)
    with pytest.raises(Invalid, match="without an end"):
        decompress(packed[:-3], 80)
    with pytest.raises(Invalid, match="before it is defined"):
        decompress(b"\xff\xff\xff", 80)


@given(st.binary(max_size=500))
def test_any_bytes_raise_invalid_only(data: bytes) -> None:
    with contextlib.suppress(Invalid):
        assert len(decompress(data, 1000)) <= 1000
