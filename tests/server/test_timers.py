"""Timers: who is due, in which order, whatever was put off or cancelled meanwhile."""

import math

from hypothesis import given
from hypothesis import strategies as st

from mesh.server.timers import SPARE, Timers


def test_nothing_is_due_before_its_time() -> None:
    timers = Timers()
    assert timers.next() == math.inf
    timers.start("a", 10.0)
    timers.start("b", 5.0)
    assert (len(timers), timers.next()) == (2, 5.0)
    assert timers.take(4.9, 10) == []
    assert timers.take(10.0, 10) == ["b", "a"]
    assert (len(timers), timers.next()) == (0, math.inf)


def test_no_more_are_taken_than_asked_for() -> None:
    timers = Timers()
    for number in range(5):
        timers.start(str(number), number)
    assert timers.take(9.0, 2) == ["0", "1"]
    assert timers.take(9.0, 9) == ["2", "3", "4"]


def test_what_is_cancelled_leaves_nothing_behind_for_long() -> None:
    timers = Timers()
    for number in range(10 * SPARE):
        timers.start(str(number), 1e6)
        timers.cancel(str(number))
    assert len(timers._heap) <= SPARE + 1


names = st.sampled_from("abc")
acts = st.one_of(
    st.tuples(st.just("start"), names, st.integers(1, 9)),
    st.tuples(st.just("cancel"), names, st.just(0)),
    st.tuples(st.just("wait"), names, st.integers(0, 5)),
)


@given(st.lists(acts, max_size=30))
def test_as_a_dict_of_due_times(done: list[tuple[str, str, int]]) -> None:
    timers, due, now = Timers(), dict[str, int](), 0
    for act, name, number in done:
        if act == "start":
            due[name] = now + number
            timers.start(name, due[name])
        elif act == "cancel":
            due.pop(name, None)
            timers.cancel(name)
        else:
            now += number
            late = {one for one, at in due.items() if at <= now}
            assert set(timers.take(now, 9)) == late
            due = {one: at for one, at in due.items() if one not in late}
        assert len(timers) == len(due)
        assert not due or timers.next() <= min(due.values())
