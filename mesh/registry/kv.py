"""Key/value pairs: read and write them singly, by prefix, and only if nobody else did."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.errors import Invalid
from mesh.registry.port import Command, Query
from mesh.store.database import Transaction, View
from mesh.store.table import Row, Table

VALUE_MAX_BYTES = 512 * 1024
KEY_MAX_BYTES = 2048


class Pair(Row, frozen=True, kw_only=True):
    """A key and its value. `flags` is an opaque 64-bit number for clients."""

    key: str
    value: bytes = b""
    flags: int = 0
    lock_index: int = 0
    session: str = ""

    def weight(self) -> int:
        """Its texts and its value."""
        return len(self.key) + len(self.value) + len(self.session)


def folders(key: str) -> Iterator[str]:
    """Every prefix of the key that ends in `/`, and the empty one."""
    yield ""
    end = key.find("/")
    while end >= 0:
        yield key[: end + 1]
        end = key.find("/", end + 1)


PAIRS: Table[Pair] = Table(
    "kv",
    Pair,
    key=lambda pair: pair.key,
    indexes={"folder": lambda pair: folders(pair.key)},
    history="kv",
)


def _under(view: View, prefix: str) -> list[Pair]:
    folder = prefix[: prefix.rfind("/") + 1]
    pairs = view.select(PAIRS, "folder", folder)
    return pairs if folder == prefix else [pair for pair in pairs if pair.key.startswith(prefix)]


def _check_key(key: str) -> None:
    if not key:
        raise Invalid("key: must not be empty")
    if len(key.encode()) > KEY_MAX_BYTES:
        raise Invalid(f"key: longer than {KEY_MAX_BYTES} bytes")


class Get(Query[Pair | None], frozen=True, tag="kv.get"):
    """One pair, or None."""

    answer = Pair | None
    key: str

    def run(self, view: View) -> Pair | None:
        """Look the key up."""
        return view.get(PAIRS, self.key)


class Under(Query[list[Pair]], frozen=True, tag="kv.under"):
    """Every pair whose key starts with the prefix, ordered by key."""

    answer = list[Pair]
    prefix: str

    def run(self, view: View) -> list[Pair]:
        """Read the nearest folder and filter."""
        return _under(view, self.prefix)


class Keys(Query[list[str]], frozen=True, tag="kv.keys"):
    """The keys that start with the prefix, cut after the first separator that follows it."""

    answer = list[str]
    prefix: str
    separator: str = ""

    def run(self, view: View) -> list[str]:
        """Each name once, in order."""
        names: dict[str, None] = {}
        for pair in _under(view, self.prefix):
            name = pair.key
            if self.separator:
                cut = name.find(self.separator, len(self.prefix))
                if cut >= 0:
                    name = name[: cut + len(self.separator)]
            names[name] = None
        return list(names)


class Set(Command[bool], frozen=True, tag="kv.set"):
    """Write a key. With check_index only if its modify index is that; 0 means it must not exist."""

    result = bool
    key: str
    value: bytes
    flags: int = 0
    check_index: int | None = None

    def validate(self) -> None:
        """The key and the value have limits."""
        _check_key(self.key)
        if not 0 <= self.flags < 2**64:
            raise Invalid("flags: expected an unsigned 64-bit number")

    def apply(self, transaction: Transaction) -> bool:
        """Write; False when the check index does not match."""
        old = transaction.get(PAIRS, self.key)
        if self.check_index is not None and self.check_index != (old.modify_index if old else 0):
            return False
        pair = Pair(
            key=self.key,
            value=self.value,
            flags=self.flags,
            lock_index=old.lock_index if old else 0,
            session=old.session if old else "",
        )
        transaction.put(PAIRS, pair)
        return True


class Delete(Command[bool], frozen=True, tag="kv.delete"):
    """Delete a key, if there. With check_index only if its modify index is that."""

    result = bool
    key: str
    check_index: int | None = None

    def validate(self) -> None:
        """A key is needed."""
        _check_key(self.key)

    def apply(self, transaction: Transaction) -> bool:
        """Delete; False when the key is there with another modify index."""
        old = transaction.get(PAIRS, self.key)
        if old is None:
            return True
        if self.check_index is not None and old.modify_index != self.check_index:
            return False
        transaction.delete(PAIRS, self.key)
        return True


class DeleteUnder(Command[bool], frozen=True, tag="kv.delete-under"):
    """Delete every key that starts with the prefix; the empty prefix deletes all."""

    result = bool
    prefix: str

    def apply(self, transaction: Transaction) -> bool:
        """Delete them in key order."""
        for pair in _under(transaction, self.prefix):
            transaction.delete(PAIRS, pair.key)
        return True
