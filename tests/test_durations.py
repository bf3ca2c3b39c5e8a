"""Durations as Go reads and writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mesh.durations import format_duration, parse_duration
from mesh.errors import Invalid


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("1h30m", 5400),
        ("150ms", 0.15),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("2.s", 2),
        ("-3s", -3),
        ("+3s", 3),
        ("87600h", 87600 * 3600),
        ("10us", 1e-5),
        ("10µs", 1e-5),
        ("1m1ns", 60.000000001),
    ],
)
def test_reads_what_go_reads(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "abc", "10", "s", "-", ".s", "1d", "1 s", "3000000h", "1s "])
def test_refuses_what_go_refuses(text: str) -> None:
    with pytest.raises(Invalid):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (10, "10s"),
        (90, "1m30s"),
        (3600, "1h0m0s"),
        (0.15, "150ms"),
        (0.0015, "1.5ms"),
        (1.5, "1.5s"),
        (-2, "-2s"),
        (1e-7, "100ns"),
    ],
)
def test_writes_what_go_writes(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(some.integers(0, 10**15))
def test_comes_back(microseconds: int) -> None:
    seconds = microseconds / 1e6
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)
