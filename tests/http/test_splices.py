from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mesh.http.splices import LEAST_BYTES, Recent, SpliceShape, splices

PAD = "x" * (LEAST_BYTES // 4)
ROWS = st.lists(st.integers(0, 3).map(lambda number: {"n": number, "pad": PAD}), max_size=12)


def packed(rows: list[Any]) -> bytes:
    return json.dumps(rows).encode()


def applied(before: list[Any], found: list[SpliceShape]) -> list[Any]:
    after, at = [], 0
    for one in found:
        after += [*before[at : one.start], *(json.loads(bytes(row)) for row in one.rows)]
        at = one.start + one.gone
    return [*after, *before[at:]]


@given(ROWS, ROWS)
def test_splices_make_one_list_of_the_other(before: list[Any], after: list[Any]) -> None:
    found = splices(packed(before), packed(after))
    if found is not None:
        assert applied(before, found) == after
        assert all(one.start >= 0 and one.gone >= 0 for one in found)


def test_only_what_changed_is_told() -> None:
    before = [{"n": number, "pad": PAD} for number in range(100)]
    after = [dict(row) for row in before]
    after[7]["n"] = after[9]["n"] = after[50]["n"] = -1
    found = splices(packed(before), packed(after))
    assert found is not None
    assert [(one.start, one.gone) for one in found] == [(7, 3), (50, 1)]
    shorter = [*before[:20], *before[21:]]
    assert splices(packed(before), packed(shorter)) == [SpliceShape(20, 1, [])]
    assert splices(packed(before), packed(before)) == []


def test_what_is_mostly_new_or_no_list_is_told_whole() -> None:
    before = [{"n": number, "pad": PAD} for number in range(10)]
    assert splices(packed(before), packed([{"n": -1, "pad": PAD}] * 10)) is None
    assert splices(packed(before), b'{"a": 1}') is None
    assert splices(b"[1]", b"[2]") is None


def test_what_was_told_longest_ago_is_forgotten_first() -> None:
    recent = Recent(max_bytes=3 * LEAST_BYTES)
    one = b"[" + b"1" * LEAST_BYTES
    for mark in "ab":
        recent.keep("/x", mark, one)
    assert recent.find("/x", "a") == one
    recent.keep("/x", "c", one)
    assert (recent.find("/x", "b"), recent.find("/x", "a")) == (b"", one)
    recent.keep("/x", "a", one)
    assert recent.bytes == 2 * len(one)
    recent.keep("/x", "small", b"[1]")
    assert recent.find("/x", "small") == b""
