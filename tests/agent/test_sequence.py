"""The health sequence grows whatever happens to clock, disk and process."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mesh.agent.sequence import BLOCK, Sequence
from mesh.agent.storage import Storage


@given(some.lists(some.tuples(some.floats(0, 4e9), some.integers(1, 50)), min_size=1, max_size=8))
def test_it_never_goes_back_over_restarts_and_set_clocks(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[float, int]]
) -> None:
    folder, given_out = str(tmp_path_factory.mktemp("sequence")), list[int]()
    for wall, count in lives:
        sequence = Sequence(Storage(folder), wall)
        given_out += [sequence.next() for _ in range(count)]
    assert given_out == sorted(set(given_out))


def test_a_long_life_sets_more_aside(tmp_path: Path) -> None:
    sequence = Sequence(Storage(str(tmp_path)), 0.0)
    numbers = [sequence.next() for _ in range(2 * BLOCK + 1)]
    assert Sequence(Storage(str(tmp_path)), 0.0).next() > numbers[-1]


def test_a_lost_disk_relies_on_the_clock_and_on_what_others_know() -> None:
    first = Sequence(Storage(""), 1000.0)
    before = first.next()
    again = Sequence(Storage(""), 900.0)
    assert again.witness(before)
    assert again.next() == before + 1
    assert not again.witness(before)
    assert Sequence(Storage(""), 1001.0).next() > before


def test_a_disk_that_refuses_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sequence").write_text("in the way")
    sequence = Sequence(Storage(str(tmp_path)), 1000.0)
    assert sequence.next() < sequence.next()
    assert "relies on the clock" in caplog.text
