"""Windows of durations."""

import pytest

from mesh.telemetry.windows import SAMPLES_MAX, Summary, Window


class Time:
    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def test_a_window_without_samples_is_all_zero() -> None:
    assert Window(Time()).summary() == Summary()


def test_ranks_mean_and_extremes() -> None:
    window = Window(Time())
    for number in range(100, 0, -1):
        window.add(float(number))
    found = window.summary()
    assert (found.count, found.min, found.max) == (100, 1.0, 100.0)
    assert (found.p50, found.p90, found.p99) == (50.0, 90.0, 99.0)
    assert found.mean == 50.5
    assert found.deviation == pytest.approx(28.866, abs=0.001)


def test_what_is_old_goes_but_still_counts_in_all() -> None:
    time = Time()
    window = Window(time)
    window.add(5.0)
    time.now += 50.0
    window.add(1.0)
    assert window.summary().max == 5.0
    assert window.summary(10.0).max == 1.0
    time.now += 11.0
    found = window.summary()
    assert (found.count, found.max, found.total, found.sum) == (1, 1.0, 2, 6.0)


def test_samples_have_a_limit() -> None:
    window = Window(Time())
    for _ in range(SAMPLES_MAX + 10):
        window.add(1.0)
    assert window.summary().count == SAMPLES_MAX
    assert window.total == SAMPLES_MAX + 10


def test_timed_work_counts_when_it_fails_too() -> None:
    time = Time()
    window = Window(time)

    def work(seconds: float) -> str:
        time.now += seconds
        if seconds > 5:
            raise ValueError("late")
        return "done"

    assert window.timed(work, 2.0) == "done"
    with pytest.raises(ValueError, match="late"):
        window.timed(work, 7.0)
    assert (window.summary().count, window.summary().max) == (2, 7.0)
