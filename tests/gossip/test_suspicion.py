"""Suspicion: the times of Lifeguard's paper and of memberlist's tests."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.gossip import suspicion as module
from mesh.gossip.suspicion import Suspicion, Suspicions, shortest


@pytest.mark.parametrize(
    ("members", "seconds"),
    [(0, 4.0), (1, 4.0), (10, 4.0), (32, 6.02), (100, 8.0), (1000, 12.0), (5000, 14.792)],
)
def test_the_shortest_time_grows_with_the_pool(members: int, seconds: float) -> None:
    assert shortest(4, members, 1.0) == pytest.approx(seconds, abs=0.001)


@pytest.mark.parametrize(
    ("expected", "times"),
    [(2, [12.0, 5.691, 2.0]), (3, [12.0, 7.0, 4.075, 2.0])],
)
def test_confirmations_shorten_it(expected: int, times: list[float]) -> None:
    # Longest is six times the shortest, here 2 s.
    suspicion = Suspicion("a", 100.0, expected, 2.0)
    assert suspicion.deadline == pytest.approx(100.0 + times[0])
    for number, seconds in enumerate(times[1:]):
        assert suspicion.confirm(f"other-{number}")
        assert suspicion.deadline == pytest.approx(100.0 + seconds, abs=0.01)
    assert not suspicion.confirm("one too many")


def test_the_wan_takes_longer() -> None:
    assert [shortest(6, members, 5.0) for members in (1, 100, 1000)] == [30.0, 60.0, 90.0]


@pytest.mark.parametrize(
    ("expected", "times"),
    [
        (2, [30.0, 12.333, 2.0]),
        (3, [30.0, 16.0, 7.81, 2.0]),
        (4, [30.0, 17.941, 10.887, 5.882, 2.0]),
    ],
)
def test_memberlists_check_values(
    expected: int, times: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_MULTIPLIER", 15)
    suspicion = Suspicion("a", 0.0, expected, 2.0)
    seen = [suspicion.deadline]
    while suspicion.confirm(f"other-{len(seen)}"):
        seen.append(suspicion.deadline)
    assert seen == pytest.approx(times, abs=0.0011)


def test_the_same_accuser_counts_once() -> None:
    suspicion = Suspicion("a", 0.0, 2, 2.0)
    assert not suspicion.confirm("a")
    assert suspicion.confirm("b")
    assert not suspicion.confirm("b")


def test_with_nobody_to_confirm_it_is_short_at_once() -> None:
    assert Suspicion("a", 0.0, 0, 2.0).deadline == 2.0


STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["new", "over", "x", "y", "z"]))
    | st.floats(0.0, 20.0),
    max_size=40,
)


@given(STEPS)
def test_those_that_run_out_are_found_without_looking_at_all(
    steps: list[tuple[str, str] | float],
) -> None:
    running, now = Suspicions(), 0.0
    for step in steps:
        if isinstance(step, float):
            now += step
            expected = sorted(name for name, one in running.items() if one.deadline <= now)
            assert sorted(running.due(now)) == expected
            assert running.deadline() > now
            for name in expected:
                del running[name]
        elif step[1] == "new":
            running[step[0]] = Suspicion("first", now, 2, 2.0)
        elif step[1] == "over":
            running.pop(step[0], None)
        elif step[0] in running:
            before = running[step[0]].confirmed
            assert running.confirm(*step) == (running[step[0]].confirmed > before)
        soonest = min((one.deadline for one in running.values()), default=math.inf)
        assert running.deadline() <= soonest


def test_suspicions_that_come_and_go_leave_little_behind() -> None:
    running = Suspicions()
    for number in range(10_000):
        running["a"] = Suspicion("first", float(number), 2, 2.0)
        del running["a"]
    assert len(running._timers) < 200
