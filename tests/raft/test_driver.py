"""When a driver makes snapshots, and how much of the log it keeps."""

from pathlib import Path

import msgspec
import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.raft.driver import ENTRIES_KEPT, Driver, Options
from mesh.raft.epochs import Peer, Place, founded
from tests.raft.server import Memory


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    me = Peer("a", "a", "127.0.0.1:1")
    options = Options(str(tmp_path), snapshot_threshold=10, snapshot_bytes=1000)
    chance = (SystemClock(), SeededDice(1))
    return Driver("a", Place(founded([me])), str(tmp_path), options, Memory(), chance)


@pytest.mark.parametrize(
    ("entries", "size", "snapshot", "wanted"),
    [
        (9, 999, 0, False),
        (10, 10, 0, True),  # Enough entries.
        (9, 1000, 0, True),  # Enough bytes.
        (9, 1000, 5000, False),  # Not compared with what there is.
        (10, 1249, 5000, False),  # Less than a quarter of that.
        (10, 1250, 5000, True),
        (10 * ENTRIES_KEPT, 1, 5000, True),  # But not put off for ever.
    ],
)
def test_a_snapshot_is_made_when_it_is_worth_it(
    driver: Driver, entries: int, size: int, snapshot: int, wanted: bool
) -> None:
    driver._applied_bytes = size
    assert driver._much(entries, snapshot) is wanted


def test_no_snapshot_follows_another_at_once_but_for_very_many_entries(driver: Driver) -> None:
    driver._options = msgspec.structs.replace(driver._options, snapshot_seconds=30.0)
    assert driver._much(10, 0), "there was none before"
    driver._compacted_at = driver._clock.monotonic()
    assert not driver._much(10 * ENTRIES_KEPT - 1, 0)
    assert driver._much(10 * ENTRIES_KEPT, 0)
    driver._compacted_at -= 30.0
    assert driver._much(10, 0)
