"""Order: always what sorting would give."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.registry import kv
from mesh.store import order, table
from mesh.store.database import Database
from mesh.store.order import Order


@given(st.sets(st.integers(0, 400)), st.lists(st.integers(0, 400)), st.integers(1, 5))
def test_it_is_what_sorting_gives(first: set[int], changes: list[int], chunk: int) -> None:
    former, order.CHUNK = order.CHUNK, chunk
    try:
        keys, kept = set(first), Order(first)
        for key in changes:
            if key in keys:
                kept.remove(key)
            else:
                kept.add(key)
            keys ^= {key}
            assert list(kept) == sorted(keys)
        for _ in kept.discard():
            pass
        assert list(kept) == []
    finally:
        order.CHUNK = former


def _put(database: Database, key: str, *, back: bool = False) -> None:
    transaction = database.begin(database.index + 1)
    transaction.put(kv.PAIRS, kv.Pair(key=key))
    transaction.rollback() if back else transaction.commit()


def test_large_buckets_stay_in_order_as_they_grow_and_shrink() -> None:
    database = Database([kv.PAIRS])
    content = database.contents["kv"]
    many = table.ORDERED_MIN + 100
    for number in range(many):
        _put(database, f"a/{number * 7919 % many:05}")
    assert set(content.orders) == {(table.EVERY, ""), ("folder", ""), ("folder", "a/")}
    _put(database, "a/not", back=True)
    _put(database, "b")
    keys = [f"a/{number:05}" for number in range(many)]
    assert [row.key for row in database.view().select(kv.PAIRS, "folder", "a/")] == keys
    assert kv.Keys("", "/").run(database.view()) == ["a/", "b"]
    assert kv.Keys("a/000").run(database.view()) == keys[:100]
    for key in keys[: many // 2]:
        transaction = database.begin(database.index + 1)
        transaction.delete(kv.PAIRS, key)
        transaction.commit()
    assert content.orders == {}
    assert [row.key for row in kv.Under("a/").run(database.view())] == keys[many // 2 :]
