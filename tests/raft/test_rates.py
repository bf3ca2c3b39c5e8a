"""Clocks are believed only as far as answers prove their rate."""

import pytest

from mesh.raft.rates import LEAST_SECONDS, WINDOW_SECONDS, ClockRate


def measured(rate: float, seconds: float, round_trip: float, every: float = 0.1) -> ClockRate:
    """A clock of this rate that answered so long; read late on the way at first, then early."""
    clock, sent, read = ClockRate(), 50.0, 0.0
    while sent < 50.0 + seconds:
        read = max(read, sent + (round_trip if sent < 50.0 + seconds / 2 else 0.0))
        clock.answered(sent, 9000.0 + rate * read, sent + round_trip)
        sent += every
    return clock


@pytest.mark.parametrize("rate", [0.93, 1.0, 1.07])
def test_a_clock_near_ours_is_steady_after_a_while(rate: float) -> None:
    assert measured(rate, 2.0, 0.002).steady(52.0)
    assert not measured(rate, LEAST_SECONDS, 0.002).steady(51.0)


@pytest.mark.parametrize("rate", [-1.0, 0.0, 0.5, 0.85, 1.15, 2.0])
def test_a_clock_that_runs_otherwise_is_odd_and_never_steady(rate: float) -> None:
    clock = measured(rate, 20.0, 0.002)
    assert clock.odd
    assert not clock.steady(70.0)


def test_slow_answers_prove_nothing_either_way() -> None:
    clock = measured(1.0, 20.0, 0.9)
    assert not clock.steady(70.0)
    assert not clock.odd


def test_a_slow_answer_does_not_end_what_was_proved() -> None:
    clock = measured(1.0, 2.0, 0.002)
    clock.answered(52.0, 9052.8, 52.9)
    assert clock.steady(52.9)


def test_a_proof_gets_old() -> None:
    assert not measured(1.0, 2.0, 0.002).steady(52.0 + WINDOW_SECONDS)


def test_a_clock_that_begins_to_run_fast_is_found_with_its_next_answers() -> None:
    clock = measured(1.0, 3.0, 0.002)
    assert clock.steady(53.0)
    clock.answered(53.1, 9053.2, 53.102)
    assert not clock.steady(53.1)
    assert clock.odd == 1


def test_late_answers_are_left_out() -> None:
    clock = measured(1.0, 3.0, 0.002)
    clock.answered(51.0, 9051.0, 53.1)
    assert clock.steady(53.1)
    assert not clock.odd


def test_a_busy_link_is_measured_as_well() -> None:
    assert measured(1.0, 2.0, 0.002, every=0.0005).steady(52.0)
    assert measured(2.0, 2.0, 0.002, every=0.0005).odd
