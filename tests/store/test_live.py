"""A live answer equals a fresh run, and its index never goes back, whatever is committed."""

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh.registry import kv
from mesh.registry.requests import TABLES
from mesh.store.database import Database, Question, View
from mesh.store.live import Answers
from mesh.store.snapshot import freeze, thaw


class All(msgspec.Struct, frozen=True):
    """The pairs of some keys, each a part, and of some prefixes, whose parts are keys."""

    keys: tuple[str, ...]
    prefixes: tuple[str, ...] = ()

    def run(self, view: View) -> list[Any]:
        """Nothing is read here: all is in the parts."""
        pairs = [view.part(kv.Get(key)) for key in self.keys]
        return pairs + [view.part(All(tuple(view.part(kv.Keys(one, ""))))) for one in self.prefixes]


KEYS = ["a", "a/", "a/b", "a/b/c", "a/c", "b", "b/x"]
QUESTIONS: list[Question[Any]] = [
    *(kv.Get(key) for key in KEYS),
    *(kv.Under(prefix) for prefix in ["", "a", "a/", "a/b", "b/"]),
    kv.Keys("a/", "/"),
    All(("a", "b", "a/b")),
    All(("b",), ("a/", "b/")),
]


class LiveAnswers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.database = Database(TABLES)
        self.answers = Answers(self.database, limit=4, empty=2, parts=5)
        self.log_index = 1
        self.seen: dict[object, int] = {}
        self.woken: set[object] = set()
        self.heard = {
            question: (self.answers.listen(question, lambda q=question: self.woken.add(q)))  # type: ignore[misc]
            for question in QUESTIONS[::3]
        }

    def commit(
        self, commands: Iterable[kv.Set | kv.Delete | kv.DeleteUnder], *, keep: bool
    ) -> None:
        self.log_index += 1
        before = {question: question.run(self.database.view()) for question in self.heard}
        transaction = self.database.begin(self.log_index)
        for command in commands:
            command.apply(transaction)
        if not keep:
            transaction.rollback()
        self.woken.clear()
        self.answers.committed(transaction.commit())
        for question, value in before.items():
            if question.run(self.database.view()) != value:
                assert question in self.woken

    @rule(
        sets=st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from([b"1", b"2"])), max_size=3),
        keep=st.booleans(),
    )
    def write(self, sets: list[tuple[str, bytes]], keep: bool) -> None:
        self.commit([kv.Set(key, value) for key, value in sets], keep=keep)

    @rule(key=st.sampled_from(KEYS), keep=st.booleans())
    def delete(self, key: str, keep: bool) -> None:
        self.commit([kv.Delete(key)], keep=keep)

    @rule(prefix=st.sampled_from(["", "a/", "a"]))
    def delete_under(self, prefix: str) -> None:
        self.commit([kv.DeleteUnder(prefix)], keep=True)

    @rule()
    def restore_own_snapshot(self) -> None:
        pieces = [piece for piece in freeze(self.database, 1) if piece]
        thaw(self.database, iter(pieces)).install()
        assert [piece for piece in freeze(self.database, 1) if piece] == pieces
        self.answers.restored()

    @rule(question=st.sampled_from(QUESTIONS))
    def read(self, question: Question[Any]) -> None:
        live = self.answers.read(question)
        assert live.value == question.run(self.database.view())
        assert live.index >= max(1, self.seen.get(question, 1))
        self.seen[question] = live.index

    @invariant()
    def bounded(self) -> None:
        assert len(self.answers) <= 4 + len(self.heard)
        assert len(self.answers._parts) <= 5
        idle = [live for live in self.answers._idle.values() if not live.dirty]
        assert len([live for live in idle if not live.value]) <= 2


TestLiveAnswers = LiveAnswers.TestCase
TestLiveAnswers.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def commit(database: Database, answers: Answers, index: int, command: kv.Set | kv.Delete) -> None:
    transaction = database.begin(index)
    command.apply(transaction)
    answers.committed(transaction.commit())


def test_what_is_not_there_puts_out_nothing_that_is() -> None:
    database = Database(TABLES)
    answers = Answers(database, limit=100, empty=5)
    commit(database, answers, 2, kv.Set("x", b"1"))
    there = answers.read(kv.Get("x"))
    for number in range(1000):
        assert answers.read(kv.Get(f"none-{number}")).value is None
    assert len(answers) == 6
    assert len(answers._readers) <= 12
    assert answers.read(kv.Get("x")) is there
    # What comes to be is no longer among them, what goes is.
    commit(database, answers, 3, kv.Set("none-999", b"1"))
    for number in range(5):
        answers.read(kv.Get("none-999"))
        answers.read(kv.Get(f"other-{number}"))
    assert answers.read(kv.Get("none-999")).value is not None
    assert len(answers) == 7
    commit(database, answers, 4, kv.Delete("x"))
    assert answers.read(kv.Get("x")).value is None
    assert len(answers) == 6


def test_equal_write_wakes_nobody_and_keeps_the_index() -> None:
    database = Database(TABLES)
    answers = Answers(database)
    commit(database, answers, 2, kv.Set("x", b"1"))
    woken: list[int] = []
    answers.listen(kv.Get("x"), lambda: woken.append(1))
    commit(database, answers, 3, kv.Set("x", b"1"))
    assert woken == []
    assert answers.read(kv.Get("x")).index == 2


def test_unrelated_write_wakes_nobody() -> None:
    database = Database(TABLES)
    answers = Answers(database)
    woken: list[int] = []
    answers.listen(kv.Get("missing"), lambda: woken.append(1))
    commit(database, answers, 2, kv.Set("other", b"1"))
    assert woken == []
    commit(database, answers, 3, kv.Set("missing", b"1"))
    assert woken == [1]
    assert answers.read(kv.Get("missing")).index == 3


def test_deleting_moves_the_index_of_the_prefix_forward() -> None:
    database = Database(TABLES)
    answers = Answers(database)
    commit(database, answers, 2, kv.Set("a/x", b"1"))
    commit(database, answers, 3, kv.Delete("a/x"))
    assert answers.read(kv.Under("a/")).index == 3
    assert answers.read(kv.Under("b/")).index == 1


def test_bytes_kept_with_an_answer_go_with_its_value() -> None:
    database = Database(TABLES)
    answers = Answers(database)
    commit(database, answers, 2, kv.Set("x", b"1"))
    answers.read(kv.Get("x")).told = "made of it"
    commit(database, answers, 3, kv.Set("x", b"2"))
    assert answers.read(kv.Get("x")).told is None


def test_only_the_parts_that_changed_are_computed_again() -> None:
    ran: list[str] = []

    class Part(msgspec.Struct, frozen=True):
        key: str

        def run(self, view: View) -> bytes | None:
            ran.append(self.key)
            pair = kv.Get(self.key).run(view)
            return pair.value[:1] if pair else None

    class Whole(msgspec.Struct, frozen=True):
        def run(self, view: View) -> list[bytes | None]:
            return [view.part(Part(key)) for key in ("x", "y", "z")]

    database = Database(TABLES)
    answers = Answers(database)
    woken: list[int] = []
    answers.listen(Whole(), lambda: woken.append(1))
    for index, key in enumerate(("x", "y"), 2):
        commit(database, answers, index, kv.Set(key, b"1"))
    ran.clear()
    assert answers.read(Whole()).value == [b"1", b"1", None]
    assert (answers.read(Whole()).index, ran, len(woken)) == (3, ["x", "y"], 2)
    commit(database, answers, 4, kv.Set("z", b"2"))
    assert answers.read(Whole()).value == [b"1", b"1", b"2"]
    assert (answers.read(Whole()).index, ran) == (4, ["x", "y", "z"])
    # A part that comes out equal changes nothing, and its index does not count.
    commit(database, answers, 5, kv.Set("z", b"2 and more"))
    assert (answers.read(Whole()).index, ran) == (4, ["x", "y", "z", "z"])
    commit(database, answers, 6, kv.Delete("x"))
    assert answers.read(Whole()).value == [None, b"1", b"2"]
    assert answers.read(Whole()).index == 6
    answers.restored(other=True)
    ran.clear()
    assert (answers.read(Whole()).value, ran) == ([None, b"1", b"2"], ["x", "y", "z"])
