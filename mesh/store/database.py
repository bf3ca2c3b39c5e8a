"""The database: views that remember what they read, transactions that say what they changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

import msgspec

from mesh.errors import Invalid
from mesh.store import chronicle, joint, ledger
from mesh.store.chronicle import Changed, Chronicle
from mesh.store.ledger import Ended, Ledger
from mesh.store.staging import Staging
from mesh.store.steps import freed
from mesh.store.table import EVERY, PRIMARY, Bucket, Content, Met, Row, Table

R = TypeVar("R", bound=Row)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Database:
    """The tables. One thread owns it; a view or a transaction never awaits, so nobody needs locks.

    `index` is the log index of the last commit; `ledger` knows how the latest requests ended,
    `chronicle` what they changed. `floor` is the log index at which all tables were last replaced:
    no bucket changed before that. `staging` is what may replace them next.
    """

    def __init__(self, tables: Iterable[Table[Any]]) -> None:
        self.contents: dict[str, Content[Any]] = {table.name: Content(table) for table in tables}
        self.ledger = Ledger()
        self.chronicle = Chronicle(content.table for content in self.contents.values())
        self.joints = joint.Joints(content.table for content in self.contents.values())
        self.index = 0
        self.floor = 0
        self.staging: Staging | None = None

    def changed_at(self, bucket: Bucket) -> int:
        """The log index of the last change to the bucket."""
        table, index, value = bucket
        if (content := self.contents.get(table)) is not None:
            at = content.mark(index, value)
            return max(self.floor, at)
        return self.ledger.changed_at(value) if table == ledger.NAME else self.chronicle.pruned_at

    def rise(self, before: int, level: int, index: int) -> None:
        """The log entry at this index took the cluster to another level.

        Marks of indexes that it has from now on were in no snapshot, so a server that began with
        one does not have those that others have: they begin here.
        """
        for content in self.contents.values():
            for name, since in content.table.later.items():
                if before < since <= level:
                    content.marks[name].begin(content.buckets[name], index)
            content.met.clear()

    def stage(self, ceiling: int) -> Staging:
        """Begin other tables, empty so far, whose rows have no index above the ceiling."""
        self.staging = Staging([one.table for one in self.contents.values()], ceiling)
        return self.staging

    def view(self, parts: Parts | None = None) -> View:
        """Start reading; `parts` knows answers that others are made of."""
        return View(self, parts)

    def begin(self, index: int, time: float = 0.0) -> Transaction:
        """Start writing the log entry at this index, proposed at this time (Unix seconds)."""
        return Transaction(self, index, time)


class Question(Protocol[T_co]):
    """A read as a value: hashable, and a function of the view alone."""

    def run(self, view: View) -> T_co:
        """Compute the answer."""
        ...

    def __hash__(self) -> int: ...


class Part(Protocol):
    """An answer that others are made of."""

    value: Any
    index: int
    touched: set[Bucket]


Parts = Callable[[Question[Any]], Part]


class View:
    """Reads the database and remembers every bucket it looked into, found or not.

    What its parts looked into is in `within`: it counts only as far as it changed their answers.
    """

    def __init__(self, database: Database, parts: Parts | None = None) -> None:
        self._database = database
        self._dates: dict[Bucket, int] = {}
        self._parts, self._newest_part = parts, 1
        self.touched: set[Bucket] = set()
        self.within: set[Bucket] = set()

    def part(self, question: Question[T]) -> T:
        """The answer to a question that this answer is made of.

        Where answers are kept it is computed again only when something that it read has changed,
        so that an answer about thousands costs as much as what changed of it.
        """
        if self._parts is None:
            return question.run(self)
        part = self._parts(question)
        self.within |= part.touched
        self._newest_part = max(self._newest_part, part.index)
        value: T = part.value
        return value

    def _content(self, table: Table[R]) -> Content[R]:
        return self._database.contents[table.name]

    def get(self, table: Table[R], key: Hashable) -> R | None:
        """The row with this primary key."""
        self.touched.add((table.name, PRIMARY, key))
        row: R | None = self._database.contents[table.name].rows.get(key)
        return row

    def select(self, table: Table[R], index: str, value: Hashable, prefix: str = "") -> list[R]:
        """The rows with this value in the named index, ordered by primary key.

        With a prefix only those whose primary keys, texts, begin with it.
        """
        self.touched.add((table.name, index, value))
        return list(self._database.contents[table.name].select(index, value, prefix))

    def items(self, table: Table[R], index: str, value: Hashable) -> list[tuple[Any, R]]:
        """The rows that `select` gives, with their primary keys."""
        self.touched.add((table.name, index, value))
        return list(self._database.contents[table.name].items(index, value))

    def joined(self, table: Table[Any], value: Hashable, keys: Iterable[Hashable]) -> list[Met]:
        """What the rows of a bucket of the joint's index are joined with, by the keys they have.

        See Joint; the bucket itself has to be read too.
        """
        contents = self._database.contents
        found, newest = joint.read(table, contents, keys, self._met(contents[table.name]))
        together = joint.bucket(table, value)
        self.touched.add(together)
        self.date(together, newest)
        return found

    def _met(self, content: Content[Any]) -> dict[Hashable, Met]:
        return content.met

    def keys(self, table: Table[R], index: str, value: Hashable, prefix: str = "") -> list[Any]:
        """The primary keys of the rows that `select` gives."""
        self.touched.add((table.name, index, value))
        return list(chain.from_iterable(self._content(table).parts(index, value, prefix)))

    def every(self, table: Table[R]) -> list[R]:
        """All rows, ordered by primary key."""
        self.touched.add((table.name, EVERY, ""))
        return list(self._content(table).select(EVERY, ""))

    def select_some(self, table: Table[R], count: int) -> list[R]:
        """The first rows of the table, so many at most, ordered by primary key."""
        self.touched.add((table.name, EVERY, ""))
        return list(islice(self._content(table).select(EVERY, ""), count))

    def values(self, table: Table[R], index: str) -> list[Any]:
        """Every value that some row has in the named index, in order."""
        self.touched.add((table.name, EVERY, ""))
        buckets: Mapping[Any, Any] = self._content(table).buckets[index]
        return sorted(buckets)

    def date(self, bucket: Bucket, index: int) -> None:
        """Say when the part of the bucket that was read changed last; the rest did not matter."""
        self._dates[bucket] = max(index, self._database.floor)

    def emptied(self, table: Table[R]) -> tuple[Mapping[Hashable, int], int]:
        """When the rows deleted lately were, by key; and when the newest of all others was."""
        marks = self._content(table).marks[PRIMARY]
        return marks.emptied, marks.floor

    def ended(self, request: str) -> Ended | None:
        """How the request with this id ended; None when it is not known, or no more."""
        self.touched.add(ledger.bucket(request))
        return self._database.ledger.ended.get(request)

    def horizon(self) -> int:
        """At least the log index of every request that is no longer known."""
        self.touched.add(ledger.HORIZON)
        return self._database.ledger.horizon

    @property
    def chronicle(self) -> Chronicle:
        """What was changed. Who reads of a row says so first, by `past`."""
        return self._database.chronicle

    def past(self, table: Table[Any], index: str = EVERY, value: Hashable = "") -> Chronicle:
        """What was changed, to be read for the rows of this bucket only."""
        self.touched.update(((table.name, index, value), chronicle.PRUNED))
        return self._database.chronicle

    def index(self) -> int:
        """The log index of the last change to anything read so far; at least 1."""
        dates, database, newest = self._dates, self._database, self._newest_part
        contents, floor = database.contents, database.floor
        for bucket in self.touched:
            table, index, value = bucket
            if dates and bucket in dates:
                at = dates[bucket]
            elif (content := contents.get(table)) is None:
                at = database.changed_at(bucket)
            elif (at := content.mark(index, value)) < floor:
                at = floor
            if at > newest:  # noqa: PLR1730  (a call costs more, for each of some dozens)
                newest = at
        return newest


class Transaction(View):
    """One log entry's changes. They are in place at once; `rollback` takes all of them back."""

    def __init__(self, database: Database, index: int, time: float) -> None:
        super().__init__(database)
        self.log_index = index
        self.time = time
        self._undo: list[tuple[Content[Any], Hashable, Row | None]] = []
        self._changed: set[Bucket] = set()
        self._settled: dict[str, Ended] = {}
        self.reverts = 0
        """The log index at which rows were as they are made again, if that is what is done."""
        self._stage: list[bytes | int | None] = []
        self._former: dict[str, Content[Any]] | None = None
        self.dropped: list[Iterator[None]] = []
        """After `commit`: frees tables that are needed no more, a little at each step."""

    def _met(self, content: Content[Any]) -> dict[Hashable, Met]:  # noqa: ARG002
        return {}  # What is read here may be taken back.

    @property
    def writes(self) -> int:
        """How many rows were written or deleted so far."""
        return len(self._undo)

    @property
    def replaced(self) -> bool:
        """Whether all tables were replaced."""
        return self._former is not None

    def stage(self, what: bytes | int | None) -> None:
        """At commit: begin other tables, with rows below a ceiling; feed them; or drop them."""
        self._stage.append(what)

    def replace_all(self, sha256: str) -> None:
        """Put the staged tables in place of the present ones. Raises Invalid unless all is there.

        The sum is that of the bytes they were read from. What is written to tables after this is
        written to the new ones.
        """
        database = self._database
        if database.staging is None or database.staging.sha256 != sha256:
            raise Invalid("the tables to put in place are not those that were announced")
        self._former = database.contents
        database.contents = database.staging.finish()

    @property
    def fresh(self) -> bool:
        """Whether nothing was ever committed before."""
        return self._database.index == 0

    def settle(self, request: str, ended: Ended) -> None:
        """Have the ledger know how another request ended: it is never done from now on."""
        self._settled[request] = ended

    def put(self, table: Table[R], row: R) -> R:
        """Write the row and return it with its indexes. An equal row is left as it is."""
        content = self._content(table)
        key = table.key(row)
        old = content.rows.get(key)
        created = modified = self.log_index
        if old is not None:
            created, modified = old.create_index, old.modify_index
        new = msgspec.structs.replace(row, create_index=created, modify_index=modified)
        if old is not None:
            if new == old:
                return old
            # Nobody else knows it yet.
            msgspec.structs.force_setattr(new, "modify_index", self.log_index)
        self._replace(content, key, new)
        return new

    def delete(self, table: Table[R], key: Hashable) -> bool:
        """Remove the row; says whether there was one."""
        content = self._content(table)
        if key not in content.rows:
            return False
        self._replace(content, key, None)
        return True

    def _replace(self, content: Content[Any], key: Hashable, row: Row | None) -> None:
        self._undo.append((content, key, content.rows.get(key)))
        content.replace(key, row, self._changed)

    def changed_rows(self) -> list[Changed]:
        """Each row of which history is kept that is not the same any more, as it was and is."""
        undo = self._undo
        if len(undo) == 1:
            ((content, key, before),) = undo
            if not content.table.history:
                return []
            return [(content.table, key, before, content.rows.get(key))]
        first: dict[tuple[str, Hashable], Changed] = {}
        for content, key, before in undo:
            table = content.table
            if table.history and (table.name, key) not in first:
                first[table.name, key] = (table, key, before, content.rows.get(key))
        return [one for one in first.values() if one[2] is not one[3]]

    def rollback(self) -> None:
        """Take back every change."""
        for content, key, old in reversed(self._undo):
            content.replace(key, old, self._changed)
        if self._former is not None:
            self._database.contents, self._former = self._former, None
        self._stage.clear()
        self._undo.clear()
        self._changed.clear()
        self._settled.clear()

    def commit(self) -> set[Bucket]:
        """End the transaction; returns the buckets it changed, whose marks have moved."""
        database = self._database
        contents, log_index = database.contents, self.log_index
        emptied = [
            bucket
            for bucket in self._changed
            if not contents[bucket[0]].changed(bucket[1], bucket[2], log_index)
        ]
        for table, index, value in sorted(emptied, key=repr):
            contents[table].emptied(index, value, log_index)
        if joined := database.joints.of(self._changed, contents):
            self._changed |= joined
        for request, ended in self._settled.items():
            database.ledger.remember(request, ended, self._changed)
        for what in self._stage:
            self._set_stage(what)
        if self._former is not None:
            database.floor, database.staging = self.log_index, None
            self.dropped.append(freed(self._former))
        database.index = self.log_index
        return self._changed

    def _set_stage(self, what: bytes | int | None) -> None:
        database = self._database
        if isinstance(what, bytes):
            if database.staging is not None:
                database.staging.feed(what)
            return
        if database.staging is not None:
            self.dropped.append(freed(database.staging.contents))
            database.staging = None
        if what is not None:
            database.stage(what)
