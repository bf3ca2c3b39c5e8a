"""Config entries as they are: kinds, names, bodies. What they mean is said where they are used.

Services have the same name in any case, so entries do: each is stored under the name that was
written, and found ignoring case (`find`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from mesh.codec import check_depth
from mesh.errors import Invalid
from mesh.registry.levels import ENTRIES, MESH
from mesh.registry.port import Command, Query
from mesh.store.database import Transaction, View
from mesh.store.table import Row, Table

NAME_MAX_BYTES = 512
INTENTIONS = "service-intentions"
_KIND = re.compile(r"[a-z][a-z0-9-]{0,63}")


class Entry(Row, frozen=True, kw_only=True):
    """A config entry. The body has Consul's key names, without those that are fields here."""

    history: ClassVar[str] = "config"
    kind: str
    name: str
    body: dict[str, Any] = {}


def _sources(entry: Entry) -> Iterator[dict[str, Any]]:
    """Those of an entry about intentions, whatever else an import left in it."""
    sources = entry.body.get("Sources") if entry.kind == INTENTIONS else None
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict):
            yield source


def _texts(values: Iterator[Any]) -> Sequence[str]:
    return sorted({one for one in values if isinstance(one, str) and one})


def _providers(value: Any, within: str = "") -> Iterator[Any]:
    """The names of all providers below a JWT."""
    if isinstance(value, list):
        for inside in value:
            if within == "Providers" and isinstance(inside, dict):
                yield inside.get("Name")
            else:
                yield from _providers(inside)
    elif isinstance(value, dict):
        for key, inside in value.items():
            yield from _providers(inside, key)


def _used(entry: Entry) -> Iterator[Any]:
    if entry.kind == INTENTIONS:
        yield from _providers({key: entry.body.get(key) for key in ("JWT", "Sources")})


TABLE: Table[Entry] = Table(
    "entries",
    Entry,
    key=lambda entry: (entry.kind, entry.name),
    indexes={
        "kind": lambda entry: (entry.kind,),
        "folded": lambda entry: ((entry.kind, entry.name.lower()),),
        "source": lambda entry: [
            name.lower() for name in _texts(one.get("Name") for one in _sources(entry))
        ],
        "intention": lambda entry: _texts(one.get("LegacyID") for one in _sources(entry)),
        "provider": lambda entry: _texts(_used(entry)),
    },
    level=ENTRIES,
    later={"folded": MESH, "source": MESH, "intention": MESH, "provider": MESH},
)


def find(view: View, kind: str, name: str) -> Entry | None:
    """The entry of this name, ignoring case.

    Of several, which only an older program or an import leaves, the one that is spelled so, else
    the first.
    """
    found = view.select(TABLE, "folded", (kind, name.lower()))
    return next((one for one in found if one.name == name), found[0] if found else None)


def check_name(kind: str, name: str) -> None:
    """Raise Invalid for a kind or a name that no entry can have."""
    if not _KIND.fullmatch(kind):
        raise Invalid(f'Kind: expected lower-case letters, digits and dashes, got "{kind[:64]}"')
    if not name:
        raise Invalid("Name: must not be empty")
    if len(name.encode()) > NAME_MAX_BYTES:
        raise Invalid(f"Name: longer than {NAME_MAX_BYTES} bytes")


class Get(Query[Entry | None], frozen=True, tag="entries.get"):
    """One entry by its name, ignoring case, or None."""

    answer = Entry | None
    needs: ClassVar[int] = ENTRIES
    kind: str
    name: str

    def run(self, view: View) -> Entry | None:
        """Look it up."""
        return find(view, self.kind, self.name)


class List(Query[list[Entry]], frozen=True, tag="entries.list"):
    """The entries of a kind, or all, ordered by kind and name."""

    answer = list[Entry]
    needs: ClassVar[int] = ENTRIES
    kind: str = ""

    def run(self, view: View) -> list[Entry]:
        """Read the kind's bucket, or the table."""
        return view.select(TABLE, "kind", self.kind) if self.kind else view.every(TABLE)


class Set(Command[bool], frozen=True, tag="entries.set"):
    """Write an entry. With check_index only if its modify index is that; 0: it must not exist."""

    result = bool
    needs: ClassVar[int] = ENTRIES
    kind: str
    name: str
    body: dict[str, Any] = {}
    check_index: int | None = None

    def validate(self) -> None:
        """Kind and name have limits."""
        check_name(self.kind, self.name)
        check_depth("Entry", self.body)

    def apply(self, transaction: Transaction) -> bool:
        """Write; False when the check index does not match."""
        old = transaction.get(TABLE, (self.kind, self.name))
        if self.check_index is not None and self.check_index != (old.modify_index if old else 0):
            return False
        transaction.put(TABLE, Entry(kind=self.kind, name=self.name, body=self.body))
        return True


class Delete(Command[bool], frozen=True, tag="entries.delete"):
    """Delete an entry, if there. With check_index only if its modify index is that."""

    result = bool
    needs: ClassVar[int] = ENTRIES
    kind: str
    name: str
    check_index: int | None = None

    def validate(self) -> None:
        """Kind and name have limits."""
        check_name(self.kind, self.name)

    def apply(self, transaction: Transaction) -> bool:
        """Delete; False when it is there with another modify index."""
        old = transaction.get(TABLE, (self.kind, self.name))
        if old is None:
            return True
        if self.check_index is not None and old.modify_index != self.check_index:
            return False
        transaction.delete(TABLE, (self.kind, self.name))
        return True
