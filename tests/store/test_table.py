"""Tables: an index of the primary key is the same index, found with less work."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.store.database import Database
from mesh.store.table import OfKey, Row, Table


class Thing(Row, frozen=True, kw_only=True):
    name: str
    size: int = 0


def initials(name: str) -> list[str]:
    return [name[:1], name[:2]]


THINGS: Table[Thing] = Table(
    "things",
    Thing,
    key=lambda thing: thing.name,
    indexes={"quick": OfKey(initials), "plain": lambda thing: initials(thing.name)},
)
KEYS = st.sampled_from(["a", "ab", "abc", "b", "bb"])
ENTRIES = st.lists(st.tuples(st.lists(st.tuples(KEYS, st.integers(-1, 2))), st.booleans()))


@given(ENTRIES)
def test_an_index_of_the_key_is_like_any_other(
    entries: list[tuple[list[tuple[str, int]], bool]],
) -> None:
    database = Database([THINGS])
    for number, (changes, refused) in enumerate(entries, 1):
        transaction = database.begin(number)
        for name, size in changes:
            if size < 0:
                transaction.delete(THINGS, name)
            else:
                transaction.put(THINGS, Thing(name=name, size=size))
        if refused:
            transaction.rollback()
        changed = transaction.commit()
        assert {value for _, index, value in changed if index == "quick"} == {
            value for _, index, value in changed if index == "plain"
        }
        content = database.contents["things"]
        assert content.buckets["quick"] == content.buckets["plain"]
        for value in ("", "a", "ab", "b", "bb"):
            assert content.mark("quick", value) == content.mark("plain", value)
