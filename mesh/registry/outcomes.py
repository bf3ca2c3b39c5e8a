"""Outcomes: what became of a request, asked by its id, and how to make sure it never happens."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from mesh.codec import unpack
from mesh.errors import Cancelled, Invalid
from mesh.registry.levels import EXACT
from mesh.registry.port import Command, Query
from mesh.store.database import Transaction, View
from mesh.store.ledger import Ended

CALLERS = "key:"
"""Starts the ids that callers chose; those that mesh makes for itself have no colon."""
KEY_MAX_BYTES = 128


def request_of(key: str) -> str:
    """The request id of a caller's key. Raises Invalid unless it is printable and short."""
    if not key or not key.isprintable() or len(key.encode(errors="replace")) > KEY_MAX_BYTES:
        raise Invalid(f"Idempotency-Key: expected 1 to {KEY_MAX_BYTES} bytes of printable text")
    return CALLERS + key


class Outcome(msgspec.Struct, frozen=True):
    """What is known of a request at the moment of the answer.

    applied: done once, at `index`, with this `value`.
    refused: it reached the log at `index` and changed nothing; `code` and `message` say why.
    cancelled: never done, and it never will be.
    not-applied: not done so far; a copy that is still on its way may be, unless it is cancelled.
    unknown: it never came, or it was forgotten. When its `since` is below `horizon`, no copy that
    says this `since` is done from now on, whatever happened before.
    """

    request: str
    status: Literal["applied", "refused", "cancelled", "not-applied", "unknown"]
    index: int = 0
    value: Any = None
    code: str = ""
    message: str = ""
    horizon: int = 0
    """At least the log index of every request that was forgotten; 0 below level 2."""


class Find(Query[Outcome], frozen=True, tag="outcomes.find"):
    """The outcome of a request. `since`: a log index that was applied before it was first made."""

    answer = Outcome
    request: str
    since: int | None = None

    def run(self, view: View) -> Outcome:
        """Look it up; when it is not there, the horizon says whether it can have been."""
        ended, horizon = view.ended(self.request), view.horizon()
        if ended is not None:
            return _told(self.request, ended, horizon)
        exact = horizon > 0 and self.since is not None and self.since >= horizon
        return Outcome(self.request, "not-applied" if exact else "unknown", horizon=horizon)


class Cancel(Command[Outcome], frozen=True, tag="outcomes.cancel"):
    """See to it that a request is not applied, unless it was; what became of it."""

    result = Outcome
    needs: ClassVar[int] = EXACT
    target: str
    since: int

    def apply(self, transaction: Transaction) -> Outcome:
        """Settle it as cancelled, so that every copy still to come is refused."""
        if self.since >= transaction.log_index:
            raise Invalid(f"since: {self.since} is no index of this log yet")
        found = Find(self.target, self.since).run(transaction)
        if found.status != "not-applied":
            return found
        index = transaction.log_index
        ended = Ended(
            code=Cancelled.code,
            message="the request was cancelled before it was applied",
            time=transaction.time,
            index=index,
        )
        transaction.settle(self.target, ended)
        return _told(self.target, ended, found.horizon)


def _told(request: str, ended: Ended, horizon: int) -> Outcome:
    index, code, message = ended.index, ended.code, ended.message
    if code == Cancelled.code:
        return Outcome(request, "cancelled", index, None, code, message, horizon)
    if code:
        return Outcome(request, "refused", index, None, code, message, horizon)
    return Outcome(request, "applied", index, unpack(ended.value, object), "", "", horizon)
