"""Differences of values: texts by line, JSON by field, and no words about what is no text."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.http import differences
from mesh.http.differences import compare

NAMES = ("old", "new")


def test_texts_differ_by_lines() -> None:
    found = compare(b"a\nb\n", b"a\nc\n", NAMES)
    assert found.form == "text"
    assert found.text.split("\n") == ["--- old", "+++ new", "@@ -1,2 +1,2 @@", " a", "-b", "+c"]


def test_a_newline_at_the_end_is_a_difference() -> None:
    assert "+a  (no newline at the end)" in compare(b"a\n", b"a", NAMES).text


def test_json_differs_by_fields_whatever_its_form() -> None:
    found = compare(b'{"a": 1, "b": [2]}', b'{"b":[3],"a":1}', NAMES)
    assert found.form == "json"
    lines = found.text.split("\n")
    assert [line for line in lines[3:] if line[0] != " "] == ["-    2", "+    3"]
    assert compare(b'{"a": 1}', b'{"a":1}', NAMES).form == "text"
    assert compare(b'{"a": 1}', b'{"a":', NAMES).form == "text"


def test_nothing_is_said_of_what_cannot_be_read() -> None:
    assert compare(b"a", b"\xff", NAMES) == ("binary", "")
    assert compare(b"a\x00", b"a", NAMES) == ("binary", "")
    assert compare(b"a\n" * (differences.LINES_MAX + 1), b"", NAMES) == ("large", "")
    assert compare(b"a" * (differences.BYTES_MAX + 1), b"", NAMES) == ("large", "")
    assert compare(b"a", b"a", NAMES) == ("none", "")
    assert compare(None, b"a", NAMES).text.endswith("+a")


@given(st.none() | st.binary(), st.none() | st.binary())
def test_it_never_fails(before: bytes | None, after: bytes | None) -> None:
    assert (compare(before, after, NAMES).form == "none") == (before == after)


@given(st.text(max_size=20), st.text(max_size=20))
def test_what_is_compared_as_text_shows_a_difference(before: str, after: str) -> None:
    found = compare(before.encode(), after.encode(), NAMES)
    assert not found.text or found.text.startswith("--- old\n+++ new\n@@")
