"""Joints: rows that are read together with others, all of which are one bucket to who reads them.

Who reads twenty instances, each with its node and the checks of the node, would look into forty
buckets beside those of the instances, and to note each costs more than to read it. So what an index
value's rows are joined with is noted once, and a commit that changes some of it is traced back.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from mesh.store.table import PRIMARY, Bucket, Content, Met, Row, Table

if TYPE_CHECKING:
    from collections.abc import Set


class Joint(msgspec.Struct, frozen=True):
    """With what the rows of a table are read, one index value's rows at a time."""

    index: str
    """The index whose values are read."""
    by: str
    """Another one: its values are primary keys of `one`. Each row has one, and always that row."""
    one: Table[Any]
    many: Table[Any]
    through: str
    """The index in which rows of `many` are found,"""
    under: Callable[[Any], tuple[Hashable, ...]]
    """by this value, which begins with the primary key."""


def bucket(table: Table[Any], value: Hashable) -> Bucket:
    """All that the rows with this value are joined with."""
    return (table.name, "+", value)


def read(
    table: Table[Any],
    contents: Mapping[str, Content[Any]],
    keys: Iterable[Hashable],
    met: dict[Hashable, Met],
) -> tuple[list[Met], int]:
    """What rows of the table are joined with, for each of these keys of `one`.

    Also the log index at which any of it changed last. `met` is what was read before.
    """
    newest, found = 0, []
    for key in keys:
        if (one := met.get(key)) is None:
            one = met[key] = _meet(table, contents, key)
        found.append(one)
        newest = max(newest, one[2])
    return found, newest


def _meet(table: Table[Any], contents: Mapping[str, Content[Any]], key: Hashable) -> Met:
    joint = table.joint
    assert joint is not None, "the table has a joint"
    row: Row = contents[joint.one.name].rows[key]
    many, value = contents[joint.many.name], joint.under(key)
    changed = max(row.modify_index, many.mark(joint.through, value))
    return row, tuple(many.select(joint.through, value)), changed


class Joints:
    """Traces back which rows are joined with what a commit changed."""

    def __init__(self, tables: Iterable[Table[Any]]) -> None:
        self._by_table: dict[str, list[tuple[str, Table[Any], Joint]]] = {}
        for table in tables:
            if (joint := table.joint) is not None:
                self._by_table.setdefault(joint.one.name, []).append((PRIMARY, table, joint))
                self._by_table.setdefault(joint.many.name, []).append((joint.through, table, joint))

    def of(self, changed: Set[Bucket], contents: Mapping[str, Content[Any]]) -> set[Bucket]:
        """The joined buckets that some of these are part of: they are read anew from now on."""
        found: set[Bucket] = set()
        for name, index, value in changed:
            for through, table, joint in self._by_table.get(name, ()):
                if index != through:
                    continue
                key: Any = value
                if index != PRIMARY:
                    assert isinstance(value, tuple), "it begins with the key"
                    key = value[0]
                    if joint.under(key) != value:
                        continue
                content, values = contents[table.name], table.indexes[joint.index]
                content.met.pop(key, None)
                rows = content.select(joint.by, key)
                found.update(bucket(table, one) for row in rows for one in values(row))
        return found
