"""Pairs: the table of keys and values, which sessions lock."""

from __future__ import annotations

from typing import ClassVar

from mesh.registry.levels import SESSIONS
from mesh.store.table import OfKey, Row, Table


class Pair(Row, frozen=True, kw_only=True):
    """A key and its value. `flags` is an opaque 64-bit number for clients."""

    history: ClassVar[str] = "kv"
    key: str
    value: bytes = b""
    flags: int = 0
    lock_index: int = 0
    """How often the key was acquired since it was created."""
    session: str = ""
    """The session that holds it; empty when none does."""

    def weight(self) -> int:
        """Its texts and its value."""
        return len(self.key) + len(self.value) + len(self.session)


def folders(key: str) -> list[str]:
    """Every prefix of the key that ends in `/`, and the empty one."""
    found, end = [""], key.find("/") + 1
    while end:
        found.append(key[:end])
        end = key.find("/", end) + 1
    return found


PAIRS: Table[Pair] = Table(
    "kv",
    Pair,
    key=lambda pair: pair.key,
    indexes={
        "folder": OfKey(folders),
        "session": lambda pair: (pair.session,) if pair.session else (),
    },
    later={"session": SESSIONS},
)
