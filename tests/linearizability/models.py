"""What the checker knows of mesh: keys with conditional writes, and locks.

Some locks are what programs build with `?cas`, others are held by sessions, with `?acquire`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import pairwise
from typing import Any

import msgspec

from tests.linearizability.checker import FOREVER, Call, Undecided, Verdict, check
from tests.linearizability.history import ACQUIRE, CAS, READ, WRITE, Operation

ABSENT = ""
UNSEEN = "?"  # No value that was read or expected is this.


class Action(msgspec.Struct, frozen=True):
    """An operation on a key, with the value instead of the ModifyIndex that a cas expected."""

    operation: Operation
    kind: str
    value: str
    expected: str = ABSENT
    refused: bool = False


class Key:
    """A key of the KV store. Its state: the value, and how many known writes came before.

    `ranks` orders the values whose ModifyIndex is known: they must be written in that order. All
    values that were neither seen nor expected are alike.
    """

    def __init__(self, ranks: dict[str, int], expected: Set[str]) -> None:
        self._ranks, self._expected = ranks, expected
        self.first = (ABSENT, 0)

    def step(self, state: tuple[str, int], action: Action) -> tuple[str, int] | None:
        """See Model."""
        value, rank = state
        if action.kind == READ:
            return state if action.value == value else None
        if action.kind == CAS and (action.expected == value) == action.refused:
            return None
        if action.refused:
            return state
        known = self._ranks.get(action.value)
        if known is None:
            return action.value if action.value in self._expected else UNSEEN, rank
        return (action.value, rank + 1) if known == rank else None

    def hides(self, action: Action) -> bool:
        """See Model."""
        return action.kind == WRITE

    def rescue(
        self, state: tuple[str, int], action: Action, spares: Sequence[Action]
    ) -> int | None:
        """A write that nobody ever saw may explain why a cas was refused.

        One conditional on this very value can explain nothing else, so it goes first.
        """
        place = None
        if not action.refused:
            return None
        for number, spare in enumerate(spares):
            if spare.kind == CAS and spare.expected == state[0]:
                return number
            if spare.kind == WRITE and place is None:
                place = number
        return place


class Lock:
    """A lock. Its state: the token of who holds it."""

    first = ABSENT

    def step(self, state: str, action: Action) -> str | None:
        """See Model."""
        if action.kind == ACQUIRE:
            return action.value if state == ABSENT else None
        return ABSENT if state == action.value else None

    def hides(self, action: Action) -> bool:
        """Nothing is spare."""
        return False

    def rescue(self, state: str, action: Action, spares: Sequence[Action]) -> int | None:
        """Nothing is spare."""
        return None


class Anomaly(msgspec.Struct, frozen=True):
    """Why a history is wrong, and the operations that show it."""

    key: str
    reason: str
    operations: list[Operation]


def judge(history: Iterable[Operation]) -> list[Anomaly]:
    """Everything wrong with a history of reads, writes and cas. Raises Undecided."""
    return [found for key, each in _by_key(history) if (found := _judge_key(key, each))]


def judge_locks(history: Iterable[Operation]) -> list[Anomaly]:
    """Everything wrong with a history of locks. Raises Undecided."""
    found = []
    for key, operations in _by_key(history):
        calls = [
            Call(Action(one, one.kind, one.value), one.began, _end(one))
            for one in operations
            if one.outcome in {"done", "unknown"}
        ]
        verdict = check(calls, Lock())
        if not verdict.linearizable:
            found.append(_unordered(key, verdict))
    return found


def judge_fences(fences: Mapping[str, Iterable[tuple[float, int]]]) -> list[Anomaly]:
    """Every lock whose LockIndex did not grow from one holder to the next."""
    found = []
    for key, held in sorted(fences.items()):
        tokens = [token for _, token in sorted(held)]
        if any(later <= earlier for earlier, later in pairwise(tokens)):
            found.append(Anomaly(key, f"the fencing tokens do not grow: {tokens}", []))
    return found


def _by_key(history: Iterable[Operation]) -> list[tuple[str, list[Operation]]]:
    keys: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        keys[operation.key].append(operation)
    return sorted(keys.items())


def _end(operation: Operation) -> float:
    return FOREVER if operation.outcome == "unknown" else operation.ended


def _judge_key(key: str, operations: Sequence[Operation]) -> Anomaly | None:
    indexes: dict[str, int] = {}
    values: dict[int, str] = {}
    reads = [one for one in operations if one.kind == READ and one.outcome == "done"]
    for read in reads:
        if indexes.setdefault(read.value, read.index) != read.index:
            return Anomaly(key, "a value has two indexes: it was written twice", [read])
        if values.setdefault(read.index, read.value) != read.value:
            return Anomaly(key, "an index has two values", [read])
    if indexes.get(ABSENT, 0) or values.get(0, ABSENT):
        return Anomaly(key, "a key that is not there has an index, or one that is has none", reads)
    writes = [one for one in operations if one.kind != READ]
    twice = [value for value, count in Counter(one.value for one in writes).items() if count > 1]
    if twice or any(one.value == ABSENT for one in writes):
        raise Undecided(f"{key}: values written are not distinct: {twice[:3]}")
    written = {one.value for one in writes if one.outcome in {"done", "unknown"}}
    for read in reads:
        if read.value != ABSENT and read.value not in written:
            made = [one for one in writes if one.value == read.value]
            return Anomaly(key, "a value that nobody wrote, or whose write failed", [*made, read])
    known = sorted((index, value) for value, index in indexes.items() if value != ABSENT)
    ranks = {value: rank for rank, (_, value) in enumerate(known)}
    calls, expected = _calls(operations, values)
    verdict = check(calls, Key(ranks, expected))
    return None if verdict.linearizable else _unordered(key, verdict)


def _calls(operations: Sequence[Operation], values: dict[int, str]) -> tuple[list[Call], set[str]]:
    """The calls of one key, and the values that some cas expected.

    A write of unknown outcome that somebody saw ends when it was seen.
    """
    seen: dict[str, float] = defaultdict(lambda: FOREVER)
    expected: set[str] = set()
    actions: list[tuple[Action, float]] = []
    for one in operations:
        if one.outcome == "failed" or (one.kind == READ and one.outcome != "done"):
            continue
        # An index that no read showed belongs to a value that nobody saw.
        wanted = values.get(one.index, f"#{one.index}") if one.index else ABSENT
        action = Action(
            one,
            one.kind,
            one.value,
            wanted if one.kind == CAS else ABSENT,
            one.outcome == "refused",
        )
        actions.append((action, _end(one)))
        if one.kind == READ:
            seen[one.value] = min(seen[one.value], one.ended)
        elif one.kind == CAS:
            expected.add(wanted)
    _pass_on(actions, seen)
    calls = []
    for action, ended in actions:
        end = min(ended, seen[action.value]) if action.kind != READ else ended
        unseen = action.kind != READ and seen[action.value] == FOREVER
        movable = action.kind == WRITE or end == FOREVER
        spare = unseen and movable and action.value not in expected and not action.refused
        calls.append(Call(action, action.operation.began, end, spare))
    return calls, expected


def _pass_on(actions: list[tuple[Action, float]], seen: dict[str, float]) -> None:
    """What a cas that took effect expected was written before it."""
    changed = True
    while changed:
        changed = False
        for action, end in actions:
            if action.kind != CAS or action.refused:
                continue
            until = min(end, seen[action.value])
            if until < seen[action.expected]:
                seen[action.expected] = until
                changed = True


def _unordered(key: str, verdict: Verdict) -> Anomaly:
    last: list[Any] = verdict.order[-3:]
    shown = [action.operation for action in [*last, *verdict.stuck]]
    reason = f"no order explains it: {len(verdict.order)} operations were placed, then none fits"
    return Anomaly(key, reason, shown)
