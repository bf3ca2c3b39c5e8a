"""News of health: told at once, merged, repeated until the catalog has them, never a flood."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mesh.agent.news import AGAIN_SECONDS, BURST, FIRST_SECONDS, OPEN_MAX, PAUSE_SECONDS, News
from mesh.registry.transitions import GONE, Transition, read


class Desk:
    """News of a node, what it sent, and a catalog that knows what it was told to know."""

    def __init__(self, scale: float = 1.0) -> None:
        self.known: set[int] = set()
        numbers = itertools.count(1)
        self.news = News(
            "n1", lambda: next(numbers), lambda one: one.sequence in self.known, lambda: scale
        )

    def sent(self, now: float) -> list[list[Transition]]:
        """The events that go out now."""
        found = []
        while payload := self.news.take(now):
            node, transitions = read(payload)
            assert node == "n1"
            found.append(transitions)
        return found


def test_a_change_goes_out_at_once_and_again_until_the_catalog_has_it() -> None:
    desk = Desk()
    desk.news.changed(10.0, "c", "web", "critical")
    wanted = [[Transition("web", "c", "critical", 1)]]
    assert desk.news.deadline(10.0) == 10.0
    assert desk.sent(10.0) == wanted
    assert desk.sent(10.0) == []
    now = 10.0
    for pause in (*AGAIN_SECONDS, AGAIN_SECONDS[-1]):
        assert desk.news.deadline(now) == pytest.approx(now + pause)
        now = desk.news.deadline(now)
        assert desk.sent(now) == wanted
    desk.known.add(1)
    assert desk.sent(now + AGAIN_SECONDS[-1]) == []
    assert len(desk.news) == 0
    assert desk.news.deadline(100.0) == math.inf


def test_what_a_check_begins_with_waits_for_the_catalog() -> None:
    desk = Desk()
    desk.news.changed(0.0, "a", "web", "critical", urgent=False)
    desk.news.changed(0.0, "b", "web", "critical", urgent=False)
    assert desk.sent(FIRST_SECONDS / 2) == []
    desk.known.add(1)
    assert desk.sent(FIRST_SECONDS) == [[Transition("web", "b", "critical", 2)]]


def test_changes_at_once_share_an_event_and_only_the_newest_of_a_check_is_told() -> None:
    desk = Desk()
    for status in ("critical", "passing", "critical"):
        desk.news.changed(0.0, "a", "web", status)
    desk.news.changed(0.0, "b", "db", "warning")
    desk.news.deregistered(0.0, "old")
    assert desk.sent(0.0) == [
        [
            Transition("web", "a", "critical", 3),
            Transition("db", "b", "warning", 4),
            Transition("old", "", GONE, 5),
        ]
    ]


def test_an_instance_is_told_to_be_there_only_if_it_was_told_to_be_gone() -> None:
    desk = Desk()
    desk.news.registered(0.0, "web")
    assert len(desk.news) == 0
    desk.news.deregistered(0.0, "web")
    desk.news.registered(0.0, "web")
    assert desk.sent(0.0) == [[Transition("web", "", "passing", 2)]]
    desk.known.add(2)
    desk.news.registered(1.0, "web")
    assert desk.sent(1.0) == []


@given(
    some.floats(1, 8),
    some.lists(some.tuples(some.floats(0, 0.5), some.integers(0, 40)), min_size=20, max_size=200),
)
def test_flapping_costs_no_more_than_its_share_and_ends_with_the_truth(
    scale: float, flaps: list[tuple[float, int]]
) -> None:
    desk, now, sent = Desk(scale), 0.0, list[list[Transition]]()
    truth: dict[str, Transition] = {}
    told: dict[str, Transition] = {}
    for pause, pick in flaps:
        now += pause
        status = "critical" if truth.get(str(pick)) is None else "passing"
        number = desk.news.changed(now, str(pick), "web", status)
        truth[str(pick)] = Transition("web", str(pick), status, number)
        sent += desk.sent(now)
    assert len(sent) <= BURST + now / (PAUSE_SECONDS * scale) + 1
    for _ in range(60):
        now = max(now, min(desk.news.deadline(now), now + 100))
        sent += desk.sent(now)
        for one in itertools.chain(*sent):
            told[one.check_id] = max(told.get(one.check_id, one), one, key=lambda x: x.sequence)
        if told == truth:
            return
    assert told == truth


def test_more_than_an_event_holds_goes_out_in_several() -> None:
    desk = Desk()
    for number in range(100):
        desk.news.changed(0.0, f"service:web-{number}", f"web-{number}", "critical")
    events = desk.sent(0.0)
    assert 1 < len(events) <= BURST
    later, now = [len(one) for one in events], 0.0
    while sum(later) < 100:
        now = desk.news.deadline(now)
        later += [len(one) for one in desk.sent(now)]
    assert now <= 100 / min(later[:-1]) * PAUSE_SECONDS
    assert min(later[:BURST]) > 10


def test_an_id_too_long_for_any_event_keeps_nobody_else_out() -> None:
    desk = Desk()
    desk.news.changed(0.0, "x" * 600, "web", "critical")
    desk.news.changed(0.0, "c", "web", "critical")
    assert desk.sent(0.0) == [[Transition("web", "c", "critical", 2)]]
    assert desk.news.counters["too_long"] == 1


def test_what_is_kept_is_bounded() -> None:
    desk = Desk()
    for number in range(OPEN_MAX + 5):
        desk.news.deregistered(0.0, str(number))
    assert len(desk.news) == OPEN_MAX
    assert desk.news.counters["left_to_catalog"] == 5


def test_an_event_with_room_tells_again_what_the_catalog_does_not_have() -> None:
    desk = Desk()
    desk.news.changed(0.0, "a", "web", "critical")
    desk.news.changed(0.0, "begins", "web", "critical", urgent=False)
    desk.sent(0.0)
    desk.news.changed(0.1, "b", "web", "critical")
    assert desk.sent(0.1) == [
        [Transition("web", "b", "critical", 3), Transition("web", "a", "critical", 1)]
    ]
    assert desk.news.deadline(0.1) == AGAIN_SECONDS[0]


def test_what_is_registered_anew_is_told_as_soon_as_it_was_gone() -> None:
    desk = Desk()
    desk.news.changed(0.0, "c", "web", GONE)
    desk.sent(0.0)
    desk.news.changed(0.1, "c", "web", "critical", urgent=False)
    assert desk.sent(0.1) == [[Transition("web", "c", "critical", 2)]]
