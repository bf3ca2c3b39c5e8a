"""Order: what a sorted dict would be, and what was pinned stays as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mesh.registry import kv
from mesh.registry.requests import TABLES
from mesh.store import order
from mesh.store.database import Database
from mesh.store.order import ORDERED_MIN, Order, fitted, parts, pinned
from mesh.store.snapshot import freeze, thaw
from mesh.store.steps import freed

KEYS = st.text("abc", max_size=4)


@contextmanager
def _small(chunk: int) -> Iterator[None]:
    former = order.CHUNK, order.ORDERED_MIN
    order.CHUNK, order.ORDERED_MIN = chunk, 2
    try:
        yield
    finally:
        order.CHUNK, order.ORDERED_MIN = former


class Orders(RuleBasedStateMachine):
    """An Order of small chunks beside a dict, with copies of both from time to time."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = {"a": 0, "b": 1, "c": 2, "aa": 3}
        with _small(2):
            self.order = Order(self.plain)
        self.pins: list[tuple[list[Mapping[str, int]], dict[str, int]]] = []

    @rule(keys=st.lists(KEYS, max_size=8), value=st.integers())
    def put(self, keys: list[str], value: int) -> None:
        with _small(2):
            for key in keys:
                self.plain[key] = self.order[key] = value

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        assert self.plain.pop(key, None) == self.order.pop(key, None)

    @rule(key=KEYS)
    def look(self, key: str) -> None:
        assert self.plain.get(key) == self.order.get(key)
        assert (key in self.plain) == (key in self.order)
        if key not in self.plain:
            with pytest.raises(KeyError):
                del self.order[key]

    @rule(prefix=KEYS)
    def begin_so(self, prefix: str) -> None:
        expected = [(key, self.plain[key]) for key in sorted(self.plain) if key.startswith(prefix)]
        for items in (self.order, self.plain):
            found = [item for part in parts(items, prefix) for item in part.items()]
            assert found == expected

    @precondition(lambda self: len(self.pins) < 3)
    @rule()
    def pin(self) -> None:
        self.pins.append((pinned(self.order), dict(self.plain)))

    @rule()
    def begin_anew(self) -> None:
        former = self.order
        with _small(2):
            self.order = Order(self.plain)
        for _ in former.discard():
            pass
        assert len(former) == len(list(former)) == 0
        former["x"] = 1
        assert dict(former) == {"x": 1}

    @invariant()
    def they_are_equal(self) -> None:
        assert len(self.order) == len(self.plain)
        assert list(self.order.items()) == sorted(self.plain.items())
        assert list(self.order.values()) == [self.plain[key] for key in sorted(self.plain)]
        assert list(self.order) == sorted(self.plain)

    @invariant()
    def what_was_pinned_stays(self) -> None:
        for pins, then in self.pins:
            found = [item for part in pins for item in sorted(part.items())]
            assert found == sorted(then.items())


TestOrders = Orders.TestCase
TestOrders.settings = settings(max_examples=60, stateful_step_count=30)


def test_no_chunk_is_large_and_keys_that_come_in_order_fill_them() -> None:
    count = 20 * order.CHUNK
    mixed, rising = Order[int, None]({}), Order[int, None]({})
    for number in range(count):
        mixed[number * 7919 % count] = None
        rising[number] = None
    assert list(mixed) == list(rising) == list(range(count))
    assert all(order.CHUNK <= len(part) <= 2 * order.CHUNK for part in mixed.pin()[:-1])
    assert len(rising.pin()) == 10


def test_only_what_is_large_is_kept_in_order() -> None:
    items = dict.fromkeys(map(str, range(ORDERED_MIN - 1)), 0)
    assert fitted(items) is items
    items["x"] = 0
    large = fitted(items)
    assert isinstance(large, Order)
    assert fitted(large) is large
    for key in list(items)[: ORDERED_MIN - 100]:
        del large[key]
    assert type(fitted(large)) is dict
    assert list(fitted(large)) == sorted(list(items)[ORDERED_MIN - 100 :])


def test_the_cycle_collector_does_not_look_at_rows() -> None:
    content = Database(TABLES).contents["kv"]
    content.load(kv.Pair(key=f"a/{number}") for number in range(10 * ORDERED_MIN))
    list(content.select("folder", "a/"))
    for items in (content.rows, content.buckets["folder"]["a/"]):
        assert isinstance(items, Order)
        pins = items.pin()
        assert len(pins) >= 10
        assert not any(map(gc.is_tracked, pins))


def _put(database: Database, key: str, *, back: bool = False) -> None:
    transaction = database.begin(database.index + 1)
    transaction.put(kv.PAIRS, kv.Pair(key=key))
    transaction.rollback() if back else transaction.commit()


def _delete(database: Database, key: str, *, back: bool = False) -> None:
    transaction = database.begin(database.index + 1)
    transaction.delete(kv.PAIRS, key)
    transaction.rollback() if back else transaction.commit()


def test_large_buckets_stay_in_order_as_they_grow_and_shrink() -> None:
    database = Database([kv.PAIRS])
    content = database.contents["kv"]
    many = ORDERED_MIN + 100
    for number in range(many):
        _put(database, f"a/{number * 7919 % many:05}")
    kept = [content.rows, *(content.buckets["folder"][name] for name in ("", "a/"))]
    assert all(isinstance(each, Order) for each in kept)
    _put(database, "a/not", back=True)
    _delete(database, "a/00000", back=True)
    _put(database, "b")
    keys = [f"a/{number:05}" for number in range(many)]
    assert [row.key for row in database.view().select(kv.PAIRS, "folder", "a/")] == keys
    assert kv.Keys("", "/").run(database.view()) == ["a/", "b"]
    assert kv.Keys("a/000").run(database.view()) == keys[:100]
    for key in keys[: many - 100]:
        _delete(database, key)
    assert type(content.rows) is type(content.buckets["folder"]["a/"]) is dict
    assert [row.key for row in kv.Under("a/").run(database.view())] == keys[many - 100 :]


Change = tuple[str, int]


def _after(changes: list[Change]) -> Database:
    database = Database([kv.PAIRS])
    for what, number in changes:
        transaction = database.begin(database.index + 1)
        key = f"{number % 7}/{number}"
        if what == "put":
            transaction.put(kv.PAIRS, kv.Pair(key=key, value=b"v", flags=transaction.log_index))
        else:
            transaction.delete(kv.PAIRS, key)
        transaction.commit()
    return database


@given(
    st.lists(st.tuples(st.sampled_from(["put", "delete"]), st.integers(0, 60)), max_size=150),
    st.integers(1, 3),
)
@settings(max_examples=60)
def test_a_large_table_is_as_a_small_one(changes: list[Change], chunk: int) -> None:
    small = _after(changes)
    with _small(chunk):
        large = _after(changes)
        assert large.contents["kv"].rows == small.contents["kv"].rows
        for question in (kv.Under("3/"), kv.Under("3/4"), kv.Keys("", "/"), kv.Under("")):
            ours, theirs = large.view(), small.view()
            assert question.run(ours) == question.run(theirs)
            assert ours.index() == theirs.index()


def test_a_snapshot_of_a_large_table_is_of_the_moment_it_was_begun() -> None:
    changes = [("put", number * 7919 % 3000) for number in range(3000)]
    expected = [piece for piece in freeze(_after(changes), 3) if piece]
    database = _after(changes)
    frozen = freeze(database, 3)
    transaction = database.begin(database.index + 1)
    for number in range(0, 3000, 2):
        transaction.delete(kv.PAIRS, f"{number % 7}/{number}")
    transaction.put(kv.PAIRS, kv.Pair(key="new"))
    transaction.commit()
    database.contents, former = Database([kv.PAIRS]).contents, database.contents
    steps, pieces = freed(former), []
    for piece in frozen:  # Packed while the tables it was begun of are freed.
        next(steps, None)
        pieces.append(piece)
    for _ in steps:
        pass
    assert [piece for piece in pieces if piece] == expected
    assert not former["kv"].rows
    assert not former["kv"].buckets["folder"]
    thawed = thaw(Database([kv.PAIRS]), iter(expected))
    assert thawed.contents["kv"].rows == _after(changes).contents["kv"].rows
