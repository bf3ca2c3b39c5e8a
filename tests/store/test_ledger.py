"""The ledger forgets the oldest first, also when what it holds came out of a snapshot."""

from __future__ import annotations

import pytest

from mesh.store import ledger
from mesh.store.ledger import HORIZON, Ended, Ledger, bucket
from mesh.store.table import Bucket


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "KEPT", 3)
    monkeypatch.setattr(ledger, "KEPT_MAX", 5)


def remember(one: Ledger, number: int, time: float) -> set[Bucket]:
    changed: set[Bucket] = set()
    one.remember(f"r{number}", Ended(b"", "", "", time, number), changed)
    return changed


def test_the_oldest_are_forgotten_first() -> None:
    one = Ledger()
    for number in range(1, 6):
        assert remember(one, number, 0.0) == {bucket(f"r{number}")}
    assert remember(one, 6, 0.0) == {bucket("r6"), bucket("r1"), HORIZON}
    assert (list(one.ended), one.horizon) == (["r2", "r3", "r4", "r5", "r6"], 1)
    remember(one, 7, 100.0)
    remember(one, 8, 100.0)
    remember(one, 9, 100.0)
    assert (list(one.ended), one.horizon) == (["r7", "r8", "r9"], 6)


def test_a_request_that_is_noted_again_keeps_its_place() -> None:
    one = Ledger()
    for number in (1, 2, 3, 4, 5, 2, 6, 7):
        remember(one, number, 0.0)
    assert list(one.ended) == ["r3", "r4", "r5", "r6", "r7"]


def test_what_came_out_of_a_snapshot_is_older_than_what_comes_later() -> None:
    before, after = Ledger(), Ledger()
    for number in range(1, 5):
        remember(before, number, 0.0)
    after.ended.update(before.ended)
    for number in range(5, 9):
        assert remember(before, number, 0.0) == remember(after, number, 0.0)
    assert list(after.ended) == list(before.ended) == ["r4", "r5", "r6", "r7", "r8"]
    assert after.horizon == before.horizon == 3
