"""Broadcasts: how often, in which order and how much at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.gossip import broadcasts
from mesh.gossip.broadcasts import Broadcasts, transmissions

BIG = 10_000


def plain(multiplier: int) -> Broadcasts[bytes]:
    return Broadcasts(multiplier, len)


@pytest.mark.parametrize(
    ("members", "times"),
    [(0, 0), (1, 4), (9, 4), (10, 8), (99, 8), (100, 12), (999, 12), (1000, 16), (10_000, 20)],
)
def test_the_limit_grows_with_the_logarithm_of_the_pool(members: int, times: int) -> None:
    assert transmissions(4, members) == times


def test_an_item_is_sent_as_often_as_the_limit_says_and_then_is_done() -> None:
    queue, done = plain(4), []
    queue.add("a", b"news", lambda: done.append("a"))
    for _ in range(7):
        assert queue.draw(BIG, 2, 50) == [b"news"]
    assert not done
    assert queue.draw(BIG, 2, 50) == [b"news"]
    assert done == ["a"]
    assert queue.draw(BIG, 2, 50) == []


def test_newer_news_of_the_same_name_replace_older_and_finish_them() -> None:
    queue, done = plain(4), []
    queue.add("a", b"old", lambda: done.append("old"))
    queue.draw(BIG, 2, 50)
    queue.add("a", b"new", lambda: done.append("new"))
    assert done == ["old"]
    assert queue.draw(BIG, 2, 50) == [b"new"]


def test_the_least_sent_go_first_then_the_largest_then_the_newest() -> None:
    queue = plain(4)
    queue.add("sent", b"sent-before")
    queue.draw(BIG, 2, 50)
    queue.add("short", b"xx")
    queue.add("long", b"xxxx")
    queue.add("newer", b"yyyy")
    assert queue.draw(BIG, 2, 50) == [b"yyyy", b"xxxx", b"xx", b"sent-before"]


def test_the_largest_that_still_fits_is_taken() -> None:
    queue = plain(4)
    for size in (90, 60, 30, 5):
        queue.add(str(size), b"x" * size)
    # 62 with its head; then 38 are left: 30 and its head; then 6 are left.
    assert [len(body) for body in queue.draw(100, 2, 50)] == [90, 5]
    assert [len(body) for body in queue.draw(100, 2, 50)] == [60, 30]
    assert queue.draw(6, 2, 50) == []
    assert queue.draw(0, 2, 50) == queue.draw(-50, 2, 50) == []


def test_beyond_the_limit_the_most_sent_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcasts, "QUEUE_MAX", 3)
    queue, done = plain(4), []
    queue.add("a", b"first", lambda: done.append("a"))
    queue.draw(BIG, 2, 50)
    for name in "bcd":
        queue.add(name, name.encode())
    assert (len(queue), done) == (3, ["a"])
    assert sorted(queue.draw(BIG, 2, 50)) == [b"b", b"c", b"d"]


def test_what_is_done_may_add_to_the_queue() -> None:
    queue = plain(1)
    queue.add("a", b"one", lambda: queue.add("a", b"two"))
    assert [queue.draw(BIG, 2, 5) for _ in range(3)] == [[b"one"], [b"two"], []]


STEPS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.binary(min_size=1, max_size=30))
    | st.integers(0, 120),
    max_size=60,
)


@given(STEPS)
def test_it_does_what_a_plain_sort_does(steps: list[tuple[str, bytes] | int]) -> None:
    queue = plain(2)
    model: dict[str, tuple[int, int, bytes]] = {}
    for number, step in enumerate(steps):
        if isinstance(step, tuple):
            queue.add(*step)
            model[step[0]] = (0, -number, step[1])
            continue
        budget, expected = step, []
        order = sorted(model.items(), key=lambda one: (one[1][0], -len(one[1][2]), one[1][1]))
        for name, (sent, age, body) in order:
            if len(body) + 2 <= budget:
                budget -= len(body) + 2
                expected.append(body)
                model[name] = (sent + 1, age, body)
                if sent + 1 == 4:
                    del model[name]
        assert queue.draw(step, 2, 50) == expected
        assert len(queue) == len(model)
