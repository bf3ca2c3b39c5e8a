"""Config entries: kept as they are, written and deleted only if nobody else did when asked."""

import pytest

from mesh.errors import Invalid
from mesh.registry import entries
from mesh.registry.levels import ENTRIES
from mesh.registry.requests import TABLES
from mesh.store.database import Database


def test_entries_are_written_listed_and_deleted_with_conditions() -> None:
    database = Database(TABLES)
    one = database.begin(2)
    assert entries.Set("service-defaults", "web", {"Protocol": "http"}, 0).apply(one)
    assert entries.Set("proxy-defaults", "global").apply(one)
    assert not entries.Set("proxy-defaults", "global", {"a": 1}, 0).apply(one)
    assert not entries.Delete("proxy-defaults", "global", 1).apply(one)
    assert entries.Delete("proxy-defaults", "nothing", 1).apply(one)
    one.commit()
    view = database.view()
    assert [entry.name for entry in entries.List().run(view)] == ["global", "web"]
    assert [entry.name for entry in entries.List("service-defaults").run(view)] == ["web"]
    found = entries.Get("service-defaults", "web").run(view)
    assert found is not None
    assert (found.body, found.modify_index) == ({"Protocol": "http"}, 2)
    two = database.begin(3)
    assert entries.Delete("service-defaults", "web", 2).apply(two)
    two.commit()
    assert entries.Get("service-defaults", "web").run(database.view()) is None


def test_they_need_a_kind_a_name_and_their_level() -> None:
    for bad in (entries.Set("", "a"), entries.Set("Kind", "a"), entries.Delete("kind", "")):
        with pytest.raises(Invalid, match=r"Kind: |Name: "):
            bad.validate()
    with pytest.raises(Invalid, match="longer than"):
        entries.Set("kind", "x" * 600).validate()
    assert entries.TABLE.level == entries.Set.needs == ENTRIES
