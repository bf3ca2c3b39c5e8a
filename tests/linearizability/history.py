"""Histories: what clients asked and heard, when; in memory and as JSON lines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

READ, WRITE, CAS, ACQUIRE, RELEASE = "read", "write", "cas", "acquire", "release"

Outcome = Literal["done", "refused", "failed", "unknown"]


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request and its answer.

    `value` is what was written or read, empty for a key that is not there; a lock's token. `index`
    is the ModifyIndex that a read showed, or that a cas was made conditional on; 0 when the key is
    not there. `began` and `ended` are seconds of one monotonic clock. Outcomes: done; refused, a
    cas whose condition did not hold; failed, certainly not done; unknown, done at any time or
    never.
    """

    client: str
    key: str
    kind: str
    value: str
    began: float
    ended: float
    outcome: Outcome = "done"
    index: int = 0
    mode: str = ""
    place: str = ""
    """The node that was asked."""
    error: str = ""


def save(path: Path, history: Iterable[Operation]) -> None:
    """One line for each operation, by its beginning."""
    ordered = sorted(history, key=lambda operation: operation.began)
    path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in ordered))


def load(path: Path) -> list[Operation]:
    """What `save` wrote."""
    return [msgspec.json.decode(line, type=Operation) for line in path.read_bytes().splitlines()]
