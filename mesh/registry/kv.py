"""Key/value pairs: read, write and lock them singly, by prefix, and only if nobody else did."""

from __future__ import annotations

from typing import ClassVar

from mesh.errors import Conflict, Invalid
from mesh.registry import sessions
from mesh.registry.levels import SESSIONS
from mesh.registry.pairs import PAIRS as PAIRS  # noqa: PLC0414  # Part of this noun too.
from mesh.registry.pairs import Pair as Pair  # noqa: PLC0414
from mesh.registry.port import Command, Query
from mesh.store.database import Transaction, View

VALUE_MAX_BYTES = 512 * 1024
KEY_MAX_BYTES = 2048


def _under(view: View, prefix: str) -> list[Pair]:
    """The pairs whose keys start with the prefix, in order: part of those of the nearest folder."""
    folder = prefix[: prefix.rfind("/") + 1]
    if folder == prefix:
        return view.select(PAIRS, "folder", folder)
    found = view.select(PAIRS, "folder", folder, prefix)
    view.date((PAIRS.name, "folder", folder), _changed_under(view, prefix, found))
    return found


def _keys_under(view: View, prefix: str) -> list[str]:
    if prefix[-1:] in {"", "/"}:
        keys: list[str] = view.keys(PAIRS, "folder", prefix)
        return keys
    return [pair.key for pair in _under(view, prefix)]


def _changed_under(view: View, prefix: str, found: list[Pair]) -> int:
    """When what is under the prefix changed last, whatever else changed in its folder."""
    emptied, floor = view.emptied(PAIRS)
    gone = max((at for key, at in emptied.items() if str(key).startswith(prefix)), default=floor)
    there = max((pair.modify_index for pair in found), default=0)
    return max(gone, floor, there)


def _check_key(key: str, flags: int = 0) -> None:
    if not key:
        raise Invalid("key: must not be empty")
    if len(key.encode()) > KEY_MAX_BYTES:
        raise Invalid(f"key: longer than {KEY_MAX_BYTES} bytes")
    if not 0 <= flags < 2**64:
        raise Invalid("flags: expected an unsigned 64-bit number")


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
        prefix, separator = self.prefix, self.separator
        keys = _keys_under(view, prefix)
        if not separator:
            return keys
        names: dict[str, None] = {}
        for name in keys:
            cut = name.find(separator, len(prefix))
            names[name if cut < 0 else name[: cut + len(separator)]] = None
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
        _check_key(self.key, self.flags)

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


def acquire(transaction: Transaction, pair: Pair) -> bool:
    """Write the pair as held by its session; False when another holds it, or nobody may yet.

    The pair gives key, value, flags and session. Each new holder adds 1 to the lock index; who
    holds the key already only writes it. Raises Conflict when there is no such session.
    """
    if transaction.get(sessions.SESSIONS, pair.session) is None:
        raise Conflict(f'invalid session "{pair.session}": there is none with this id, or no more')
    old = transaction.get(PAIRS, pair.key)
    held = old is not None and bool(old.session)
    if old is not None and held and old.session != pair.session:
        return False
    if not held and sessions.held_back(transaction, pair.key):
        return False
    before = old.lock_index if old is not None else 0
    _put(transaction, pair, before if held else before + 1, pair.session)
    return True


def release(transaction: Transaction, pair: Pair) -> bool:
    """Write the pair as held by nobody; False unless its session holds it."""
    old = transaction.get(PAIRS, pair.key)
    if old is None or not pair.session or old.session != pair.session:
        return False
    _put(transaction, pair, old.lock_index, "")
    return True


def _put(transaction: Transaction, pair: Pair, lock_index: int, session: str) -> None:
    transaction.put(
        PAIRS,
        Pair(
            key=pair.key,
            value=pair.value,
            flags=pair.flags,
            lock_index=lock_index,
            session=session,
        ),
    )


class Acquire(Command[bool], frozen=True, tag="kv.acquire"):
    """Write a key and lock it for a session. Its lock index is the fencing token of the holder.

    With check_index only if its modify index is that; 0 means it must not exist.
    """

    result = bool
    needs: ClassVar[int] = SESSIONS
    key: str
    value: bytes
    session: str
    flags: int = 0
    check_index: int | None = None

    def validate(self) -> None:
        """The key and the flags have limits."""
        _check_key(self.key, self.flags)

    def apply(self, transaction: Transaction) -> bool:
        """False when another session holds it, its lock-delay lasts, or the index is not that."""
        if self.check_index is not None:
            old = transaction.get(PAIRS, self.key)
            if self.check_index != (old.modify_index if old is not None else 0):
                return False
        pair = Pair(key=self.key, value=self.value, flags=self.flags, session=self.session)
        return acquire(transaction, pair)


class Release(Command[bool], frozen=True, tag="kv.release"):
    """Write a key and give back its lock. Others may take it at once: there is no lock-delay."""

    result = bool
    needs: ClassVar[int] = SESSIONS
    key: str
    value: bytes
    session: str
    flags: int = 0

    def validate(self) -> None:
        """The key and the flags have limits."""
        _check_key(self.key, self.flags)

    def apply(self, transaction: Transaction) -> bool:
        """False unless this session holds it."""
        pair = Pair(key=self.key, value=self.value, flags=self.flags, session=self.session)
        return release(transaction, pair)
