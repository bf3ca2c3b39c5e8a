"""Bytes to requests: whole in any pieces, and nothing but Malformed or TooLarge for what is bad."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import TooLarge
from mesh.http.wire import (
    FIELDS_REMEMBERED_BYTES,
    HEADS_REMEMBERED,
    Chunked,
    Head,
    Heads,
    Malformed,
    Sized,
    field,
    parse_head,
)


def test_a_head() -> None:
    head = parse_head(
        b"PUT /v1/kv/%61?flags=1 HTTP/1.1\r\nHost: x\r\n"
        b"X-Tag:  a \r\nx-tag: b\r\nContent-Length: 12"
    )
    assert (head.method, head.target, head.length) == ("PUT", "/v1/kv/%61?flags=1", 12)
    assert (head.keep_alive, head.chunked, head.continues, head.old) == (True, False, False, False)
    assert head.headers["x-tag"] == "a, b"
    assert "host" in head.headers
    assert "range" not in head.headers
    assert [*head.headers] == ["host", "x-tag", "content-length"]
    assert len(head.headers) == 3


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: close", False),
        ("1.0", "", False),
        ("1.0", "Connection: Keep-Alive", True),
    ],
)
def test_whether_the_connection_stays(version: str, connection: str, stays: bool) -> None:
    assert (
        parse_head(f"GET / HTTP/{version}\r\n{connection or 'A: b'}".encode()).keep_alive is stays
    )


@pytest.mark.parametrize(
    "lines",
    [
        "GET /",
        "GET  / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /a\tb HTTP/1.1",
        "G@T / HTTP/1.1",
        "GET / HTTP/2.0",
        "GET / HTTP/1.1\r\nA : b",
        "GET / HTTP/1.1\r\n folded",
        "GET / HTTP/1.1\r\nno colon",
        "GET / HTTP/1.1\r\nA: b\x00",
        "GET / HTTP/1.1\r\nA: b\rC: d",
        "GET / HTTP/1.1\nA: b",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1",
        "GET / HTTP/1.1\r\nContent-Length: +1",
        "GET / HTTP/1.1\r\nContent-Length: \u0661",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        "GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked",
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b",
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(lines: str) -> None:
    with pytest.raises(Malformed):
        parse_head(lines.encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_malformed(data: bytes) -> None:
    for head in (data, b"GET / HTTP/1.1\r\n" + data):
        with suppress(Malformed):
            assert isinstance(parse_head(head), Head)


def feed(body: Sized | Chunked, data: bytes, cuts: list[int]) -> bytes | None:
    """Feed it in pieces; what is left once it is whole."""
    points = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    rest: bytes | None = None
    for begin, end in pairwise(points):
        rest = body.feed(data[begin:end])
        if rest is not None:
            return rest + data[end:]
    return rest


LINES = st.sampled_from(
    [
        "GET /a HTTP/1.1",
        "PUT /b?c HTTP/1.1",
        "GET /a HTTP/1.0",
        "GET  HTTP/1.1",
        "G\x01 / HTTP/1.1",
        "",
    ]
)
FIELDS = st.sampled_from(
    [
        "",
        "\r\nA: b",
        "\r\nContent-Length: 3",
        "\r\nConnection: close",
        "\r\nno colon",
        "\r\nA: \x01",
    ]
)


@given(st.lists(st.tuples(LINES, FIELDS), max_size=12))
def test_heads_that_were_read_before_are_read_the_same(asked: list[tuple[str, str]]) -> None:
    heads = Heads()
    for line, fields in asked:
        data = f"{line}{fields}".encode()
        try:
            expected = parse_head(data)
        except Malformed as error:
            with pytest.raises(Malformed, match=re.escape(str(error))):
                heads.read(data)
        else:
            assert heads.read(data) == expected


def test_a_head_of_one_request_is_nobody_elses() -> None:
    heads = Heads()
    heads.read(b"GET / HTTP/1.1\r\nA: b").keep_alive = False
    assert heads.read(b"GET / HTTP/1.1\r\nA: b").keep_alive


def test_not_every_head_is_remembered() -> None:
    heads = Heads()
    for number in range(2 * HEADS_REMEMBERED):
        assert heads.read(b"GET / HTTP/1.1\r\nA: %d" % number).headers == {"a": str(number)}
    long = "x" * FIELDS_REMEMBERED_BYTES
    assert heads.read(f"GET / HTTP/1.1\r\nA: {long}".encode()).headers == {"a": long}
    assert len(heads) <= HEADS_REMEMBERED


@given(st.binary(max_size=60), st.binary(max_size=20), st.lists(st.integers(0, 200), max_size=5))
def test_a_body_of_known_length(content: bytes, after: bytes, cuts: list[int]) -> None:
    body = Sized(len(content), 60)
    assert feed(body, content + after, cuts) == after
    assert (body.take(), body.size) == (content, len(content))


@given(
    st.lists(st.binary(min_size=1, max_size=20), max_size=4),
    st.sampled_from([b"", b"Trailer: x\r\n"]),
    st.binary(max_size=20),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_chunks(pieces: list[bytes], trailer: bytes, after: bytes, cuts: list[int]) -> None:
    data = b"".join(b"%X;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    body = Chunked(100)
    assert feed(body, data + b"0\r\n" + trailer + b"\r\n" + after, cuts) == after
    assert (body.take(), body.size) == (b"".join(pieces), sum(map(len, pieces)))


@given(st.binary(max_size=100), st.lists(st.integers(0, 100), max_size=3))
def test_any_bytes_are_chunks_or_malformed(data: bytes, cuts: list[int]) -> None:
    with suppress(Malformed, TooLarge):
        feed(Chunked(50), data, cuts)


def test_limits() -> None:
    with pytest.raises(TooLarge, match="max size: 10 bytes"):
        Sized(11, 10)
    with pytest.raises(TooLarge, match="max size: 10 bytes"):
        Chunked(10).feed(b"6\r\naaaaaa\r\n5\r\n")
    with pytest.raises(Malformed):
        Chunked(10).feed(b"0" * 5000)
    with pytest.raises(Malformed):
        Chunked(10).feed(b"0\r\n" + b"a" * 20_000)
    with pytest.raises(Malformed):
        Chunked(10).feed(b"0\r\n" + b"a: b\r\n" * 5000)
    with pytest.raises(Malformed, match="more than 256"):
        parse_head(b"GET / HTTP/1.1" + b"\r\nA: b" * 257)


class Counted(bytes):
    """Bytes that count how much was copied out of them."""

    copied = 0

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        Counted.copied += len(found) if isinstance(found, bytes) else 1
        return found

    def __radd__(self, before: bytes) -> Counted:
        return Counted(before + bytes(self))

    def partition(self, _: Any) -> Any:
        raise AssertionError("copies all that follows")


def test_small_chunks_are_not_copied_again_and_again() -> None:
    many, body = 10_000, Chunked(20_000)
    data = b"1\r\na\r\n" * many + b"0\r\n" + b"A: b\r\n" * 1000 + b"\r\nrest"
    assert body.feed(Counted(data)) == b"rest"
    assert body.take() == b"a" * many
    assert Counted.copied < 2 * len(data)


def test_a_field_stays_one_line() -> None:
    assert field("Location", "/a\r\nX: y\x00") == b"Location: /a  X: y \r\n"
    assert field("X", "é\udcff") == b"X: \xc3\xa9\xff\r\n"
