"""Snapshots of tables: equal tables give equal pieces, small ones, whatever their past."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.clock import SeededDice
from mesh.codec import pack, unpack
from mesh.errors import Invalid
from mesh.registry import catalog, kv
from mesh.registry.requests import TABLES
from mesh.store.database import Database
from mesh.store.order import ORDERED_MIN
from mesh.store.snapshot import FORMAT, freeze, thaw
from mesh.store.steps import STEP_BYTES
from mesh.store.table import TOMBSTONES_MAX, Row, Table

COUNT = 3 * ORDERED_MIN


def pieces_of(database: Database) -> list[bytes]:
    return [piece for piece in freeze(database, 1) if piece]


def filled(keys: Sequence[str], value: bytes = b"v") -> Database:
    """A database with these keys, all written at once."""
    database = Database(TABLES)
    transaction = database.begin(9)
    for key in keys:
        kv.Set(key, value).apply(transaction)
    transaction.commit()
    return database


def test_the_order_of_writes_does_not_show() -> None:
    keys = [f"{number % 7}/{number % 31}/{number}" for number in range(COUNT)]
    forward, backward, mixed = filled(keys), filled(keys[::-1]), list(keys)
    dice = SeededDice(1)
    mixed = [mixed.pop(dice.below(len(mixed))) for _ in keys]
    assert pieces_of(forward) == pieces_of(backward) == pieces_of(filled(mixed))


def test_a_restored_database_is_the_same_and_reads_the_same() -> None:
    database = filled([f"{number % 7}/{number}" for number in range(COUNT)])
    transaction = database.begin(10)
    for number in range(50):
        kv.Delete(f"{number % 7}/{number}").apply(transaction)
    catalog.Register(node=catalog.Node(name="n", address="10.0.0.1")).apply(transaction)
    transaction.commit()
    other = filled(["former"])
    thawed = thaw(other, iter(pieces_of(database)))
    assert other.view().get(kv.PAIRS, "former") is not None
    thawed.install()
    assert pieces_of(other) == pieces_of(database)
    for question in (kv.Under("3/"), kv.Get("3/3"), kv.Get("3/59"), kv.Under(""), catalog.Nodes()):
        ours, theirs = other.view(), database.view()
        assert question.run(ours) == question.run(theirs)
        assert ours.index() == theirs.index()
    for _ in thawed.discard():
        pass
    assert pieces_of(other) == pieces_of(database)


def test_a_copy_is_of_its_moment() -> None:
    database = filled(["a", "b"])
    before, copy = pieces_of(database), freeze(database, 1)
    transaction = database.begin(10)
    kv.Delete("a").apply(transaction)
    kv.Set("b", b"new").apply(transaction)
    transaction.commit()
    assert [piece for piece in copy if piece] == before


def test_pieces_are_small_even_when_rows_are_not() -> None:
    row = STEP_BYTES // 3
    pieces = pieces_of(filled([f"{number:04d}" for number in range(200)], b"x" * row))
    assert max(map(len, pieces)) < STEP_BYTES + 2 * row
    assert len(pieces) > 60


def test_marks_of_buckets_long_empty_come_back_in_their_order() -> None:
    database = filled(["stay"])
    for number in range(TOMBSTONES_MAX + 10):
        transaction = database.begin(10 + number)
        kv.Set(f"{number}", b"").apply(transaction)
        kv.Delete(f"{number}").apply(transaction)
        transaction.commit()
    other = Database(TABLES)
    thaw(other, iter(pieces_of(database))).install()
    for each in (database, other):  # The next one drops the same old mark on both.
        transaction = each.begin(99_999)
        kv.Set("more", b"").apply(transaction)
        kv.Delete("more").apply(transaction)
        transaction.commit()
    assert pieces_of(other) == pieces_of(database)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pieces_lost_moved_or_broken_are_refused(data: st.DataObject) -> None:
    good = pieces_of(filled([f"{number}" for number in range(600)]))
    bad = list(good)
    place = data.draw(st.integers(0, len(bad) - 1))
    how = data.draw(st.sampled_from(["cut", "tear", "lose rows", "noise", "start again"]))
    if how == "cut":
        bad = bad[:place]
    elif how == "tear":
        bad[place] = bad[place][: data.draw(st.integers(0, len(bad[place]) - 1))]
    elif how == "lose rows":
        bad.remove(data.draw(st.sampled_from([piece for piece in good if b"rows" in piece[:8]])))
    elif how == "noise":
        bad.insert(place, data.draw(st.binary(max_size=10)))
    else:
        bad.insert(max(1, place), bad[0])
    with pytest.raises(Invalid):
        thaw(Database(TABLES), iter(bad))


class Thing(Row, frozen=True, kw_only=True):
    name: str


def test_what_a_newer_program_wrote_is_refused_by_name() -> None:
    things: Table[Thing] = Table("things", Thing, lambda thing: thing.name, {})
    with pytest.raises(Invalid, match="does not know: things"):
        thaw(Database(TABLES), freeze(Database([*TABLES, things]), 1))
    start: list[object] = unpack(next(freeze(Database(TABLES), 1)), list[object])
    with pytest.raises(Invalid, match=f"format {FORMAT + 1} is newer"):
        thaw(Database(TABLES), iter([pack([start[0], FORMAT + 1, *start[2:]])]))
    newer = Database([*TABLES, things])
    thaw(newer, iter(pieces_of(filled(["a"])))).install()  # The other way a table starts empty.
    assert newer.view().every(things) == []
