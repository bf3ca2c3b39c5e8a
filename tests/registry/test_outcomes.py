"""Exactly once, at the machine: whatever is forgotten and however late copies come."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import Cancelled, Conflict, Invalid, Outdated
from mesh.registry import catalog, kv, levels, outcomes
from mesh.registry.envelope import Envelope, seal
from mesh.registry.requests import AnyCommand
from mesh.server.machine import Machine
from mesh.store import ledger

TIMES = st.sampled_from([0.0, 1.0, 59.0, 61.0, 1e6, 4e9])
STEP = st.one_of(
    st.tuples(st.just("new"), TIMES),
    st.tuples(st.just("copy"), st.integers(0, 30), st.integers(0, 3), TIMES),
    st.tuples(st.just("cancel"), st.integers(0, 30), TIMES),
    st.tuples(st.just("busy"), st.integers(1, 8), TIMES),
    st.tuples(st.just("snapshot")),
    st.tuples(st.just("restart")),
)


@pytest.fixture(autouse=True)
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "KEPT", 3)
    monkeypatch.setattr(ledger, "KEPT_MAX", 6)


def entry(
    command: AnyCommand, request: str, since: int, time: float = 1.0, attempt: int = 0
) -> bytes:
    return seal(Envelope(2, request, time, "", "test", command, attempt, since))


def pieces_of(machine: Machine) -> list[bytes]:
    return [piece for piece in machine.snapshot() if piece]


class Log:
    """A log and the servers that apply it: one whole, one that restarts from snapshots."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.whole, self.other = Machine(), Machine()
        self.saved: tuple[int, list[bytes]] | None = None
        self.add(seal(Envelope(1, "found", 0.0, "", "", levels.Found(2))))

    @property
    def last(self) -> int:
        return len(self.entries)

    def add(self, data: bytes) -> object:
        self.entries.append(data)
        index = self.last
        first, second = self.whole.apply(index, data), self.other.apply(index, data)
        assert repr(first) == repr(second)
        return first

    def snapshot(self) -> None:
        self.saved = (self.last, pieces_of(self.other))

    def restart(self) -> None:
        """As after a crash: the newest snapshot, then what follows it in the log."""
        self.other, start = Machine(), 0
        if self.saved is not None:
            start, pieces = self.saved
            self.other.prepare(start, iter(pieces)).install()
        for index, data in enumerate(self.entries[start:], start + 1):
            self.other.apply(index, data)

    def outcome(self, request: str, since: int | None) -> outcomes.Outcome:
        found: outcomes.Outcome = self.whole.answers.read(outcomes.Find(request, since)).value
        return found


class Story:
    """Requests and their copies; each does something that can be seen only once."""

    def __init__(self) -> None:
        self.log = Log()
        self.since: list[int] = []
        self.done: Counter[int] = Counter()
        self.cancelled: set[int] = set()
        self.fillers = 0

    def send(self, number: int, attempt: int, time: float) -> None:
        log = self.log
        before = log.outcome(f"r{number}", self.since[number])
        made = entry(kv.Set(f"r{number}", b"", check_index=0), f"r{number}", self.since[number])
        result = log.add(made)
        self.fill(time)  # Takes the key away again, so that a second time would be seen.
        if before.status == "not-applied":
            assert result is True
            self.done[number] += 1
        elif before.status == "unknown":
            assert isinstance(result, Outdated)
            assert result.index == log.last - 1
        elif before.status == "cancelled":
            assert isinstance(result, Cancelled)
        else:
            assert result is before.value is True

    def fill(self, time: float) -> None:
        log = self.log
        for number in range(len(self.since)):
            found = log.whole.answers.read(kv.Get(f"r{number}")).value
            assert found is None or found.create_index == log.last
        self.fillers += 1
        gone = kv.DeleteUnder("r")
        assert log.add(entry(gone, f"filler-{self.fillers}", log.last, time)) is True

    def cancel(self, number: int, time: float) -> None:
        self.fillers += 1
        order = outcomes.Cancel(f"r{number}", self.since[number])
        found = self.log.add(entry(order, f"cancel-{self.fillers}", self.log.last, time))
        assert isinstance(found, outcomes.Outcome)
        if found.status == "cancelled":
            assert not self.done[number]
            self.cancelled.add(number)
        if found.status == "applied":
            assert self.done[number] == 1


def tell(story: Story, step: tuple[str | int | float, ...]) -> None:
    match step:
        case ("new", float(time)):
            story.since.append(story.log.last)
            if time:  # Some only set out, and arrive later as a copy.
                story.send(len(story.since) - 1, 0, time)
        case ("copy", int(number), int(attempt), float(time)) if story.since:
            story.send(number % len(story.since), attempt, time)
        case ("cancel", int(number), float(time)) if story.since:
            story.cancel(number % len(story.since), time)
        case ("busy", int(count), float(time)):
            for _ in range(count):
                story.fill(time)
        case ("snapshot",):
            story.log.snapshot()
        case ("restart",):
            story.log.restart()
        case _:
            assert not story.since


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_each_request_is_done_at_most_once(steps: list[tuple[str | int | float, ...]]) -> None:
    story = Story()
    for step in steps:
        tell(story, step)
    assert all(count == 1 for count in story.done.values())
    assert not story.cancelled & set(story.done)
    assert pieces_of(story.log.whole) == pieces_of(story.log.other)
    assert len(story.log.whole.database.ledger.ended) <= ledger.KEPT_MAX


def test_what_is_forgotten_is_not_done_again_and_said_to_be_unknown() -> None:
    log = Log()
    since = log.last
    once = kv.Set("a", b"1", check_index=0)
    assert log.outcome("r", since).status == "not-applied"
    assert log.outcome("r", None).status == "unknown"
    assert log.add(entry(once, "r", since)) is True
    found = log.outcome("r", None)
    assert (found.status, found.index, found.value) == ("applied", 2, True)
    for number in range(8):
        log.add(entry(kv.Delete("a"), f"f{number}", log.last, 100.0 * number))
    for attempt in (0, 1):
        late = log.add(entry(once, "r", since, attempt=attempt))
        assert isinstance(late, Outdated)
    assert log.whole.answers.read(kv.Get("a")).value is None
    assert log.outcome("r", since).status == "unknown"
    assert log.outcome("r", log.last).status == "not-applied"


def test_a_waiting_answer_hears_what_became_of_the_request() -> None:
    log = Log()
    woken: list[int] = []
    question = outcomes.Find("r", 1)
    log.whole.answers.listen(question, lambda: woken.append(log.last))
    log.add(entry(kv.Set("a", b"1"), "r", 1))
    answer = log.whole.answers.read(question)
    assert woken == [2]
    assert (answer.index, answer.value.status) == (2, "applied")


def test_a_key_is_good_for_one_request() -> None:
    log = Log()
    assert log.add(entry(kv.Set("a", b"1"), "key:k", 1)) is True
    other = log.add(entry(kv.Set("a", b"2"), "key:k", 1, attempt=1))
    assert isinstance(other, Conflict)
    assert "Idempotency-Key" in other.message
    assert log.add(entry(kv.Set("a", b"1"), "key:k", 2, attempt=5)) is True
    found = log.whole.answers.read(kv.Get("a")).value
    assert found is not None
    assert (found.value, found.modify_index) == (b"1", 2)


def test_who_is_cancelled_stays_so_beyond_memory() -> None:
    log = Log()
    since = log.last
    cancelled = log.add(entry(outcomes.Cancel("r", since), "c", since))
    assert isinstance(cancelled, outcomes.Outcome)
    assert cancelled.status == log.outcome("r", None).status == "cancelled"
    assert isinstance(log.add(entry(kv.Set("a", b"1"), "r", since)), Cancelled)
    for number in range(8):
        log.add(entry(kv.Delete("a"), f"f{number}", log.last, 100.0 * number))
    assert isinstance(log.add(entry(kv.Set("a", b"1"), "r", since)), Outdated)
    assert log.whole.answers.read(kv.Get("a")).value is None


def test_an_index_of_the_future_is_of_another_log() -> None:
    log = Log()
    assert isinstance(log.add(entry(kv.Set("a", b"1"), "r", 2)), Outdated)
    assert isinstance(log.add(entry(outcomes.Cancel("r", 99), "c", log.last)), Invalid)
    assert log.add(entry(kv.Set("a", b"1"), "r", log.last)) is True


def test_a_refused_request_is_known_as_refused() -> None:
    log = Log()
    ghost = catalog.Check(node="", id="c", service_id="ghost")
    bad = catalog.Register(node=catalog.Node(name="n", address="10.0.0.1"), checks=[ghost])
    refused = log.add(entry(bad, "r", 1))
    found = log.outcome("r", 1)
    assert isinstance(refused, Invalid)
    assert (found.status, found.code, found.message) == ("refused", "invalid", refused.message)
