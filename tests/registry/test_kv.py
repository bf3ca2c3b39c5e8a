"""Pairs: check-and-set, prefixes and listings."""

from typing import TypeVar

from mesh.registry import kv
from mesh.registry.port import Command, Query
from mesh.registry.requests import TABLES
from mesh.store.database import Database

T = TypeVar("T")


class Pairs:
    def __init__(self, *keys: str) -> None:
        self.database = Database(TABLES)
        for key in keys:
            self.do(kv.Set(key, b""))

    def do(self, command: Command[bool]) -> bool:
        transaction = self.database.begin(self.database.index + 1)
        result = command.apply(transaction)
        transaction.commit()
        return result

    def ask(self, query: Query[T]) -> T:
        return query.run(self.database.view())


def test_check_and_set() -> None:
    pairs = Pairs()
    assert pairs.do(kv.Set("x", b"1", check_index=0))
    assert not pairs.do(kv.Set("x", b"2", check_index=0))
    pair = pairs.ask(kv.Get("x"))
    assert pair is not None
    assert pairs.do(kv.Set("x", b"2", check_index=pair.modify_index))
    assert not pairs.do(kv.Delete("x", check_index=pair.modify_index))
    assert pairs.do(kv.Delete("absent", check_index=7))


def test_prefixes_are_plain_text_not_paths() -> None:
    pairs = Pairs("a", "ab", "a/b", "a/bc", "b")
    assert [pair.key for pair in pairs.ask(kv.Under("a/b"))] == ["a/b", "a/bc"]
    assert pairs.do(kv.DeleteUnder("a/b"))
    assert [pair.key for pair in pairs.ask(kv.Under(""))] == ["a", "ab", "b"]


def test_keys_are_cut_after_the_first_separator() -> None:
    pairs = Pairs("a/b/c", "a/b/d", "a/e", "z")
    assert pairs.ask(kv.Keys("a/", "/")) == ["a/b/", "a/e"]
    assert pairs.ask(kv.Keys("", "/")) == ["a/", "z"]
    assert pairs.ask(kv.Keys("a", "")) == ["a/b/c", "a/b/d", "a/e"]


def test_a_prefix_changes_with_what_is_under_it_only() -> None:
    pairs = Pairs("a/web-1", "a/web-2", "a/db")

    def index(prefix: str) -> int:
        view = pairs.database.view()
        kv.Under(prefix).run(view)
        return view.index()

    assert [index(prefix) for prefix in ("a/web", "a/w", "a/", "a")] == [2, 2, 3, 3]
    pairs.do(kv.Delete("a/web-1"))
    pairs.do(kv.Set("a/db", b"2"))
    assert [index(prefix) for prefix in ("a/web", "a/d", "a/", "a/x")] == [4, 5, 5, 1]
