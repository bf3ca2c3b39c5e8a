"""Go's durations, read and written."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.durations import format_duration, parse_duration
from mesh.errors import Invalid


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("1h30m", 5400), ("150ms", 0.15), ("1.5s", 1.5), ("0", 0), ("-2m", -120)],
)
def test_reading(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "abc", "1 s", "s", "1d", "--1s", "1" * 70 + "s"])
def test_nonsense_shows_a_right_one(text: str) -> None:
    with pytest.raises(Invalid, match="such as 30s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(10, "10s"), (90, "1m30s"), (0.15, "150ms"), (0, "0s"), (3600, "1h0m0s"), (1.5, "1.5s")],
)
def test_writing(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(0, 1e6))
def test_what_is_written_reads_the_same(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9, rel=1e-5)


@given(st.text())
def test_any_text_raises_invalid_only(text: str) -> None:
    with contextlib.suppress(Invalid):
        parse_duration(text)
