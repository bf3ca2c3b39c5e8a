"""Snapshots: Serf's lines, what they come to, and lines that make no sense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.gossip.lamport import TIME_MAX
from mesh.gossip.snapshot import Snapshot, Times, read

WRITTEN = b"""\
alive: one 127.0.0.1:7946
clock: 1
# a comment
alive: name with spaces [::1]:8000
event-clock: 3
query-clock: 4
not-alive: one
coordinate: {"Vec": []}
alive: two 10.0.0.2:7946
alive: two 10.0.0.3:7946
clock: 7
"""


def test_later_lines_win() -> None:
    found = read(WRITTEN)
    assert found.members == {"name with spaces": "[::1]:8000", "two": "10.0.0.3:7946"}
    assert found.times == Times(7, 3, 4)
    assert found.bad_lines == 0
    assert read(found.compact()) == found
    assert read(b"") == Snapshot()


def test_who_left_finds_nobody_unless_it_shall_rejoin() -> None:
    data = WRITTEN + b"leave\n"
    assert read(data) == Snapshot()
    assert read(data + b"alive: new 10.0.0.9:1\nclock: 2\n").members == {"new": "10.0.0.9:1"}
    assert read(data, rejoin_after_leave=True) == read(WRITTEN)


@pytest.mark.parametrize(
    "line",
    [b"alive:", b"alive: x", b"clock: x", b"clock: -1", b"what: is this", b"\xff", b""],
)
def test_lines_that_make_no_sense_are_counted(line: bytes) -> None:
    found = read(b"alive: a 10.0.0.1:1\n" + line + b"\nclock: 5\n")
    assert (found.members, found.times.member) == ({"a": "10.0.0.1:1"}, 5)
    assert found.bad_lines == 1


def test_a_line_that_was_not_ended_does_not_count() -> None:
    found = read(b"alive: a 10.0.0.1:1\nalive: b 10.0.0.2:79")
    assert (found.members, found.bad_lines) == ({"a": "10.0.0.1:1"}, 1)


def test_only_what_changed_is_written() -> None:
    snapshot = Snapshot()
    lines = snapshot.record({"a": "10.0.0.1:1", "b": "10.0.0.2:1"}, Times(1, 0, 0))
    assert lines == b"alive: a 10.0.0.1:1\nalive: b 10.0.0.2:1\nclock: 1\n"
    again = {"a": "10.0.0.1:1", "b": None, "never known": None}
    assert snapshot.record(again, Times(1, 2, 3)) == (
        b"not-alive: b\nevent-clock: 2\nquery-clock: 3\n"
    )
    assert snapshot.record({}, Times(1, 2, 3)) == b""
    assert snapshot.compact() == b"alive: a 10.0.0.1:1\nclock: 1\nevent-clock: 2\nquery-clock: 3\n"
    assert snapshot.leave() == b"leave\n"
    assert snapshot.compact() == b""


def test_the_file_may_grow_with_the_pool() -> None:
    assert Snapshot().bytes_max == 128 * 1024
    assert Snapshot({str(number): "" for number in range(1000)}).bytes_max == 256_000


@given(
    st.lists(
        st.tuples(
            st.dictionaries(
                st.sampled_from(["a", "b c", "ü", "leave", "# x"]),
                st.none() | st.sampled_from(["10.0.0.1:1", "[::1]:2"]),
            ),
            st.integers(0, 9),
        )
    )
)
def test_what_is_appended_comes_to_the_same(steps: list[tuple[dict[str, str | None], int]]) -> None:
    snapshot, data, time = Snapshot(), b"", 0
    for changes, more in steps:
        time += more
        data += snapshot.record(changes, Times(time, time // 2, 0))
    assert read(data) == snapshot
    assert read(snapshot.compact()).members == snapshot.members


@given(st.binary(max_size=300))
def test_any_bytes_are_read(data: bytes) -> None:
    found = read(data)
    assert found.times.member <= TIME_MAX
    assert read(found.compact()).members == found.members
