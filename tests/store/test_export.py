"""Exports: equal rows have equal digests whatever their past, and take their place as a whole."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.clock import SeededDice
from mesh.errors import Invalid
from mesh.registry import catalog, kv
from mesh.registry.requests import TABLES
from mesh.store.database import Database
from mesh.store.export import Export, Reading
from mesh.store.order import ORDERED_MIN
from mesh.store.staging import Staging

COUNT = 2 * ORDERED_MIN


def filled(keys: Sequence[str], value: bytes = b"v", index: int = 9) -> Database:
    """A database with these keys, all written at once."""
    database = Database(TABLES)
    transaction = database.begin(index)
    for key in keys:
        kv.Set(key, value).apply(transaction)
    catalog.Register(node=catalog.Node(name="n", address="10.0.0.1")).apply(transaction)
    transaction.commit()
    return database


def stream(database: Database) -> bytes:
    return b"".join(Export(database.contents.values(), database.index, 4))


def staged(data: bytes, portion: int = 10_000, ceiling: int = 10**6) -> Staging:
    made = Staging(TABLES, ceiling)
    for at in range(0, len(data), portion):
        made.feed(data[at : at + portion])
    return made


def test_the_past_of_rows_does_not_show_in_the_digest() -> None:
    keys = [f"{number % 7}/{number}" for number in range(COUNT)]
    mixed = list(keys)
    SeededDice(1).shuffle(mixed)
    one, two = staged(stream(filled(keys))), staged(stream(filled(mixed, index=77)))
    assert one.reading.finish() == two.reading.finish() != b""
    other = staged(stream(filled(keys, b"w")))
    assert other.reading.finish() != one.reading.finish()


@pytest.mark.parametrize("portion", [1, 7, 10**9])
def test_rows_come_back_as_they_were(portion: int) -> None:
    database = filled(["a/b", "c"])
    made = staged(stream(database), portion)
    found = made.finish()
    assert {name: one.rows for name, one in found.items()} == {
        name: one.rows for name, one in database.contents.items()
    }
    assert made.reading.tally["kv"].rows == 2


def test_no_index_is_above_the_ceiling() -> None:
    found = staged(stream(filled(["a"], index=500)), ceiling=30).finish()
    assert found["kv"].rows["a"].modify_index == 30


def test_tables_are_replaced_as_a_whole_or_not_at_all() -> None:
    database, data = filled(["old"]), stream(filled(["new"], index=5))
    transaction = database.begin(10)
    transaction.stage(10)
    transaction.stage(data)
    transaction.commit()
    transaction = database.begin(11)
    transaction.replace_all(sha256(data).hexdigest())
    kv.Set("after", b"").apply(transaction)
    transaction.rollback()
    assert kv.Keys("").run(database.view()) == ["old"]
    transaction = database.begin(12)
    transaction.replace_all(sha256(data).hexdigest())
    kv.Set("after", b"").apply(transaction)
    transaction.commit()
    view = database.view()
    assert kv.Keys("").run(view) == ["after", "new"]
    assert view.index() == 12
    view = database.view()
    view.get(kv.PAIRS, "new")
    assert view.index() == 12  # Whoever waits for anything is told now.
    assert database.staging is None
    for freeing in transaction.dropped:
        for _ in freeing:
            pass
    assert kv.Keys("").run(database.view()) == ["after", "new"]


def test_half_a_state_is_refused() -> None:
    database = filled(["old"])
    transaction = database.begin(10)
    transaction.stage(10)
    data = stream(database)[:-1]
    transaction.stage(data)
    transaction.commit()
    with pytest.raises(Invalid, match="cut short"):
        database.begin(11).replace_all(sha256(data).hexdigest())
    with pytest.raises(Invalid, match="not those that were announced"):
        Database(TABLES).begin(2).replace_all(sha256(data).hexdigest())


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_bytes_lost_or_broken_are_refused(data: st.DataObject) -> None:
    good = stream(filled([f"{number}" for number in range(50)]))
    at = data.draw(st.integers(0, len(good) - 1))
    how = data.draw(st.sampled_from(["cut", "lose", "flip", "noise"]))
    if how == "cut":
        bad = good[:at]
    elif how == "lose":
        bad = good[:at] + good[at + data.draw(st.integers(1, 50)) :]
    elif how == "flip":
        bad = good[:at] + bytes([good[at] ^ (1 << data.draw(st.integers(0, 7)))]) + good[at + 1 :]
    else:
        bad = good[:at] + data.draw(st.binary(min_size=1, max_size=10)) + good[at:]
    if bad == good:
        return
    try:
        found = staged(bad).finish()
    except Invalid:
        return
    # What is left to flip are log indexes, which the sums of the archive guard.
    assert found["kv"].rows.keys() == {f"{number}" for number in range(50)}


def test_reading_counts_without_keeping() -> None:
    reading = Reading(TABLES, lambda *_: None)
    reading.feed(stream(filled(["a", "b"])))
    assert reading.finish()
    assert {name: one.rows for name, one in reading.tally.items() if one.rows} == {
        "kv": 2,
        "nodes": 1,
    }
