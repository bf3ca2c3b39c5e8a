"""History: who changed a row, when, from where and how; what it was then, and how it is so again.

What is told comes out of the chronicle (`store/chronicle.py`). Rows travel packed, since each kind
has its own type: `row_of` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from typing import Any, ClassVar

import msgspec

from mesh.codec import pack
from mesh.errors import Conflict, Invalid, NotFound
from mesh.registry import autopilot, catalog, config, entries, kv, levels, prepared
from mesh.registry.levels import HISTORY
from mesh.registry.port import Command, Query
from mesh.registry.prepared_rows import Prepared
from mesh.store.chronicle import Change, Chronicle
from mesh.store.database import Database, Transaction, View
from mesh.store.table import EVERY, PRIMARY, Row, Table

BYTES_MAX = 16 << 20
"""Some 25,000 changes of small values. Each snapshot packs all of them again, which is what a busy
server pays for; where little is written more costs nothing."""
SECONDS_MAX = 90 * 86400.0
"""Last quarter's question has an answer, and what should not have been written goes in time."""
BYTES_LIMIT = 1 << 30
PAGE_MAX = 256
PAGE_BYTES_MAX = 1 << 20
SCANNED_MAX = 5000
"""One page looks at no more changes than this, which takes some milliseconds."""
CLOCKS_SECONDS = 3600.0
"""By how much the clocks of two leaders may differ when changes are looked for by their time."""
ANONYMOUS = "anonymous"
"""Stands for no author where people ask for one."""


class Settings(Row, frozen=True, kw_only=True):
    """How much is kept: bytes in all, and seconds of age."""

    history: ClassVar[str] = "history"
    bytes_max: int = BYTES_MAX
    seconds_max: float = SECONDS_MAX


TABLE: Table[Settings] = Table("history", Settings, key=lambda _: "", indexes={}, level=HISTORY)
DEFAULTS = Settings()


def limits_of(database: Database) -> Settings:
    """How much the cluster keeps."""
    row: Settings | None = database.contents[TABLE.name].rows.get("")
    return DEFAULTS if row is None else row


class Present(Query[Settings | None], frozen=True, tag="history.settings"):
    """How much is kept; None as long as no leader said so."""

    answer = Settings | None
    needs: ClassVar[int] = HISTORY

    def run(self, view: View) -> Settings | None:
        """Read the row."""
        return view.get(TABLE, "")


class Limit(Command[bool], frozen=True, tag="history.limit"):
    """Say how much is kept. What is too much goes with the log entries that follow."""

    result = bool
    needs: ClassVar[int] = HISTORY
    bytes_max: int
    seconds_max: float

    def validate(self) -> None:
        """Both have limits of their own."""
        if not 0 <= self.bytes_max <= BYTES_LIMIT:
            raise Invalid(f"max_bytes: expected 0 to {BYTES_LIMIT}, got {self.bytes_max}")
        if not (math.isfinite(self.seconds_max) and self.seconds_max >= 0):
            raise Invalid(f"max_age: expected a duration, got {self.seconds_max:g} s")

    def apply(self, transaction: Transaction) -> bool:
        """Write the row."""
        settings = Settings(bytes_max=self.bytes_max, seconds_max=self.seconds_max)
        transaction.put(TABLE, settings)
        return True


class Told(msgspec.Struct, frozen=True):
    """A change as it is told. `number` counts changes; the rows are packed."""

    number: int
    index: int
    time: float
    kind: str
    key: str
    op: str
    author: str
    origin: str
    request: str
    reverts: int = 0
    before: bytes | None = None
    after: bytes | None = None


class Page(msgspec.Struct, frozen=True):
    """Changes, the latest first. `following`: go on before this number; 0 when that was all."""

    changes: list[Told]
    following: int = 0
    floor: int = 0
    """Of changes up to this log index some are not known any more, or all."""


class Of(Query[Page], frozen=True, tag="history.of"):
    """The changes of a row, of those whose keys begin so, of a kind or of all; the latest first."""

    answer = Page
    needs: ClassVar[int] = HISTORY
    kind: str = ""
    key: str = ""
    prefix: bool = False
    """Whether keys begin with `key`. An empty one with `prefix` is every key."""
    author: str = ""
    since: float = 0.0
    """Unix seconds."""
    limit: int = PAGE_MAX
    before: int = 0
    """Only changes of lower numbers; 0 for all."""

    def run(self, view: View) -> Page:
        """Walk back from the latest."""
        chronicle = self._past(view)
        found: list[Told] = []
        size, most = 0, min(self.limit, PAGE_MAX)
        for scanned, change in enumerate(self._candidates(chronicle), 1):
            if change.cause.time < self.since - CLOCKS_SECONDS:
                break
            if self._wanted(change):
                found.append(told(change))
                size += change.size
            if len(found) >= most or size >= PAGE_BYTES_MAX or scanned >= SCANNED_MAX:
                return Page(found, change.number, chronicle.floor)
        return Page(found, 0, chronicle.floor)

    def _past(self, view: View) -> Chronicle:
        chronicle = view.chronicle
        if not self.kind:
            for each in chronicle.tables.values():
                view.past(each)
            return chronicle
        table = chronicle.tables.get(self.kind)
        if table is None:
            return chronicle
        if not self.prefix:
            return view.past(table, PRIMARY, primary_key(self.kind, self.key))
        if table is kv.PAIRS:
            # The nearest folder has no more changes than these, or few.
            return view.past(table, "folder", self.key[: self.key.rfind("/") + 1])
        return view.past(table, EVERY, "")

    def _candidates(self, chronicle: Chronicle) -> Iterator[Change]:
        if not self.kind or self.prefix:
            return chronicle.latest(self.before)
        changes = chronicle.of(self.kind, canonical(self.kind, self.key))
        return (one for one in changes if not self.before or one.number < self.before)

    def _wanted(self, change: Change) -> bool:
        cause = change.cause
        return (
            (not self.kind or change.kind == self.kind)
            and (not self.prefix or change.key.startswith(canonical(self.kind, self.key)))
            and (not self.author or (cause.author or ANONYMOUS) == self.author)
            and cause.time >= self.since
        )


class Then(msgspec.Struct, frozen=True):
    """What a row was. Not `known`: that was forgotten. No row: it was not there."""

    known: bool
    row: bytes | None = None
    modify_index: int = 0
    """Of the row; 0 when it was not there."""


class At(Query[Then], frozen=True, tag="history.at"):
    """What a row was when the log entry at this index had been applied; 0 for now."""

    answer = Then
    needs: ClassVar[int] = HISTORY
    kind: str
    key: str
    index: int = 0

    def run(self, view: View) -> Then:
        """Look for the first change after it, or take what is there now."""
        found = _state(view, self.kind, self.key, self.index)
        if found is None:
            return Then(known=False)
        row = found[0]
        return Then(True, None if row is None else pack(row), row.modify_index if row else 0)


class Compared(msgspec.Struct, frozen=True):
    """A row at two log indexes."""

    before: Then
    after: Then
    before_index: int
    after_index: int


class Compare(Query[Compared], frozen=True, tag="history.compare"):
    """A row at two log indexes. 0 for `after` is now; 0 for `before` is before the last change."""

    answer = Compared
    needs: ClassVar[int] = HISTORY
    kind: str
    key: str
    before: int = 0
    after: int = 0

    def run(self, view: View) -> Compared:
        """Read both."""
        chronicle, key = view.chronicle, canonical(self.kind, self.key)
        before, after = self.before, self.after
        now = At(self.kind, self.key, after).run(view)
        if not after:
            latest = next((one.cause.index for one in chronicle.of(self.kind, key)), 0)
            after = latest or now.modify_index or chronicle.floor
        if not before:
            indexes = (one.cause.index for one in chronicle.of(self.kind, key))
            last = next((one for one in indexes if one <= after), chronicle.floor + 1)
            before = max(last - 1, 1)
        return Compared(At(self.kind, self.key, before).run(view), now, before, after)


def told(change: Change) -> Told:
    """The change, to be read elsewhere."""
    cause, before, after = change.cause, change.before, change.after
    return Told(
        number=change.number,
        index=cause.index,
        time=cause.time,
        kind=change.kind,
        key=change.key,
        op=cause.op,
        author=cause.author,
        origin=cause.origin,
        request=cause.request,
        reverts=cause.reverts,
        before=None if before is None else pack(before),
        after=None if after is None else pack(after),
    )


_PARTS = {"service": "NODE/ID", "config": "KIND/NAME", "maintenance": "NODE/SERVICE/ID"}
"""Kinds whose primary keys have several parts."""


def canonical(kind: str, key: str) -> str:
    """The key as the chronicle has it: names of nodes are found whatever their case."""
    if kind == "node":
        return key.lower()
    if kind == "service":
        node, slash, rest = key.partition("/")
        return node.lower() + slash + rest
    if kind == "maintenance":
        node, service, instance = [*key.split("/", 2), "", ""][:3]
        return f"{node.lower()}/{service.lower()}/{instance}"
    return key


def check_key(kind: str, key: str) -> None:
    """Raise Invalid unless the text can be a primary key of the kind."""
    if not key:
        raise Invalid("Key: must not be empty")
    if kind in {"service", "config"} and "/" not in key:
        raise Invalid(f'Key: expected {_PARTS[kind]} for kind {kind}, got "{key}"')


def primary_key(kind: str, key: str) -> Hashable:
    """The primary key that this text stands for."""
    key = canonical(kind, key)
    if kind not in _PARTS:
        return "" if kind == "history" else key
    *parts, last = key.split("/", _PARTS[kind].count("/"))
    return (*(part.replace("%2F", "/") for part in parts), last)


def _state(view: View, kind: str, key: str, index: int) -> tuple[Any] | None:
    """The row, or None for none, as it was at this log index; None if that is not known."""
    table = view.chronicle.tables[kind]
    chronicle = view.past(table, PRIMARY, primary_key(kind, key))
    row: Any = view.get(table, primary_key(kind, key))
    if not index:
        return (row,)
    until: float = math.inf
    for change in chronicle.of(kind, canonical(kind, key)):
        made = change.cause.index
        if made <= index:
            if chronicle.whole(made, index):
                return (change.after,)
            break
        row, until = change.before, made
    if not chronicle.whole(index, until):
        return None
    if row is not None:
        return (row,) if row.modify_index <= index else None
    # It was not there before the first change known, and all later ones are known.
    return (None,) if index >= chronicle.floor else None


class Revert(Command[bool], frozen=True, tag="history.revert"):
    """Make a row again what it was at a log index, as a new change.

    With check_index only if the modify index of what is there now is that; 0: nothing is there.
    """

    result = bool
    needs: ClassVar[int] = HISTORY
    kind: str
    key: str
    index: int
    check_index: int | None = None

    def validate(self) -> None:
        """Only some kinds can be reverted."""
        if self.kind not in REVERTS:
            kinds = ", ".join(sorted(REVERTS))
            raise Invalid(f'Kind: rows of kind "{self.kind}" cannot be reverted, only {kinds}')
        check_key(self.kind, self.key)
        if self.index < 1:
            raise Invalid("Index: expected a log index, 1 or more")

    def apply(self, transaction: Transaction) -> bool:
        """Have the ordinary command do it; False when it is so already."""
        if self.index >= transaction.log_index:
            raise Invalid(f"Index: {self.index} is no index of this log yet")
        ((present,),) = (_state(transaction, self.kind, self.key, 0) or (None,),)
        expected, found = self.check_index, present.modify_index if present else 0
        if expected is not None and expected != found:
            was = f"its modify index is {found}" if found else "it does not exist"
            raise Conflict(
                f"{self.key} was changed by somebody else since: {was}, not {expected} as "
                "expected. Look at it again, or revert without the condition"
            )
        former = _state(transaction, self.kind, self.key, self.index)
        if former is None:
            raise NotFound(
                f"what {self.key} was at index {self.index} is not known any more: history goes "
                f"back to index {transaction.chronicle.floor}"
            )
        if former[0] is None and present is None:
            return False
        command = REVERTS[self.kind](transaction, self.key, former[0])
        command.validate()
        transaction.reverts = self.index
        command.apply(transaction)
        return bool(transaction.changed_rows())


def _pair(_: View, key: str, row: kv.Pair | None) -> Command[Any]:
    return kv.Delete(key) if row is None else kv.Set(key, row.value, row.flags)


def _entry(view: View, key: str, row: entries.Entry | None) -> Command[Any]:
    kind, name = key.split("/", 1)
    if levels.Present().run(view) >= levels.MESH:
        return config.Restore(kind, name, None if row is None else row.body)
    return entries.Delete(kind, name) if row is None else entries.Set(kind, name, row.body)


def _service(view: View, key: str, row: catalog.Service | None) -> Command[Any]:
    node, _, identity = canonical("service", key).partition("/")
    _refuse_agents(view, node, f"service {identity}")
    if row is None:
        return catalog.Deregister(node, service_id=identity)
    if view.get(catalog.NODES, node) is None:
        raise Conflict(f"node {node}, on which {identity} was, is not registered any more")
    return catalog.Register(catalog.Node(name=row.node), service=row, skip_node_update=True)


def _node(view: View, key: str, row: catalog.Node | None) -> Command[Any]:
    _refuse_agents(view, key.lower(), f"node {key}")
    if row is None:
        raise Conflict(f"node {key} was not registered then; to remove it deregister it")
    return catalog.Register(row)


def _refuse_agents(view: View, node: str, what: str) -> None:
    if view.get(catalog.CHECKS, (node, catalog.SERF_HEALTH)) is not None:
        raise Conflict(
            f"{what} belongs to the agent on {node}, which would write its own again: change it "
            "there"
        )


def _autopilot(_: View, key: str, row: autopilot.Settings | None) -> Command[Any]:
    if row is None:
        raise Conflict(f"there were no {key} of autopilot then")
    return autopilot.Set(row)


def _query(view: View, key: str, row: Prepared | None) -> Command[Any]:
    if row is None:
        return prepared.Delete(key)
    exists = prepared.Get(key).run(view) is not None
    return prepared.Update(row) if exists else prepared.Create(row)


REVERTS: dict[str, Callable[[View, str, Any], Command[Any]]] = {
    "kv": _pair,
    "config": _entry,
    "service": _service,
    "node": _node,
    "query": _query,
    "autopilot": _autopilot,
}
"""By kind: the ordinary command that makes a row again what it was."""
