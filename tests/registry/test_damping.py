"""Flap damping: what is damped, for how long, and that nothing is for ever."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.registry.damping import Damping, Settings


def test_a_few_falls_are_none_and_more_are_damped() -> None:
    damping = Damping(Settings())
    for number in range(3):
        assert not damping.fell(number * 20.0, "n1")
    assert damping.until(60.0, "n1") is None
    assert damping.fell(60.0, "n1")
    end = damping.until(60.0, "n1")
    assert end is not None
    assert 60.0 + 480 < end < 60.0 + 660
    assert damping.deadline() == pytest.approx(end)
    assert not damping.fell(61.0, "n1"), "it is damped already"
    assert damping.damped(61.0) == ["n1"]
    later = damping.until(61.0, "n1")
    assert later is not None
    assert later > end
    assert damping.tick(later - 0.01) == []
    assert damping.tick(later + 0.01) == ["n1"]
    assert damping.penalty(later, "n1") == pytest.approx(1.0, abs=0.01)
    # Its record is still bad: two more falls and it is out again.
    assert not damping.fell(later + 1, "n1")
    assert not damping.fell(later + 2, "n1")
    assert damping.fell(later + 3, "n1")


def test_falls_far_apart_are_forgiven() -> None:
    damping = Damping(Settings())
    for number in range(50):
        assert not damping.fell(number * 300.0, "n1"), "one in each half-life adds up to 2"
    assert damping.tick(50 * 300.0 + 5 * 300.0) == []
    assert damping.penalty(1e9, "n1") == 0.0


def test_a_fall_that_was_not_its_fault_does_not_count() -> None:
    damping = Damping(Settings())
    for now in range(20):
        damping.fell(now, "n1")
        damping.forgive(now, "n1")
        assert damping.until(now, "n1") is None
    damping.forgive(20.0, "nobody")


def test_who_is_damped_by_a_fall_that_is_forgiven_is_damped_no_more() -> None:
    damping = Damping(Settings())
    for _ in range(3):
        damping.fell(0.0, "n1")
    assert damping.fell(0.0, "n1")
    damping.forgive(0.0, "n1")
    assert (damping.until(0.0, "n1"), damping.penalty(0.0, "n1")) == (None, 3.0)
    assert damping.fell(0.0, "n1")
    damping.fell(0.0, "n1")
    damping.forgive(0.0, "n1")
    assert damping.until(0.0, "n1") is not None, "it was damped before that one"


def test_not_many_of_a_pool_are_kept_out() -> None:
    damping = Damping(Settings())
    for number in range(20):
        for _ in range(4 + number % 3):
            damping.fell(float(number), f"n{number}")
    assert len(damping.damped(30.0)) == 20
    assert len(damping.kept_out(30.0, 50)) == 5
    assert len(damping.kept_out(30.0, 3)) == 1
    worst = [damping.penalty(30.0, name) for name in damping.kept_out(30.0, 50)]
    assert min(worst) >= max(damping.penalty(30.0, name) for name in damping.damped(30.0)[5:])


def test_it_can_be_turned_off() -> None:
    damping = Damping(Settings(enabled=False))
    assert not any(damping.fell(0.0, "n1") for _ in range(100))
    assert damping.deadline() == math.inf


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 500.0)), max_size=60),
    st.builds(
        Settings,
        half_life_seconds=st.floats(1.0, 1000.0),
        suppress=st.floats(2.0, 10.0),
        reuse=st.floats(0.1, 1.9),
        hold_max_seconds=st.floats(1.0, 5000.0),
    ),
)
def test_whatever_falls(falls: list[tuple[str, float]], settings: Settings) -> None:
    """The penalty stays under its ceiling, and everybody quiet is let in when it was said."""
    damping, now, last = Damping(settings), 0.0, dict.fromkeys("abc", 0.0)
    longest = max(
        settings.hold_max_seconds,
        math.log2(settings.ceiling / settings.reuse) * settings.half_life_seconds,
    )
    for name, pause in falls:
        now += pause
        before = damping.penalty(now, name)
        damped = damping.fell(now, name)
        last[name] = now
        assert before <= damping.penalty(now, name) <= settings.ceiling
        if damped:
            assert damping.penalty(now, name) > settings.suppress
        for one in "abc":
            end = damping.until(now, one)
            assert (end is not None) == (one in damping.damped(now))
            if end is not None:
                assert now < end <= last[one] + longest + 0.001
    while damping.deadline() < math.inf:
        now = max(now, damping.deadline())
        assert damping.tick(now + 0.001)
    assert damping.damped(now) == []
