"""Live answers: results of queries that know what they read and wake who waits when it changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Set
from typing import Any, Generic, TypeVar

from mesh.store.database import Database, Question
from mesh.store.table import Bucket

ANSWERS_MAX = 10_000
EMPTY_MAX = 1000
"""Of what is not there: of that is no end, and it must not put out what is."""

PARTS_MAX = 50_000
"""Of what answers are made of: a service each, mostly."""

T = TypeVar("T")


class Live(Generic[T]):
    """The answer to one question: its value, and the log index at which the value last changed."""

    __slots__ = ("dirty", "index", "listeners", "question", "told", "touched", "value")

    def __init__(self, question: Question[T]) -> None:
        self.question = question
        self.value: Any = None
        self.index = 0
        self.touched: set[Bucket] = set()
        self.listeners: dict[object, Callable[[], None]] = {}
        self.told: Any = None
        """What readers made of value and index; None again when one of them changes."""
        self.dirty = True


def _nothing() -> None:
    """Nobody minds."""


class Answers:
    """Every answer somebody asked for lately or listens to.

    A commit marks the answers that read a bucket it changed and wakes their listeners; they are
    computed again when read. A value that comes out equal keeps its index (as in salsa's
    backdating), so that who waits for a newer one goes on waiting. Answers nobody listens to are
    dropped, the least recently read first, beyond `limit`; empty ones, the oldest first, already
    beyond `empty`. What answers are made of (`View.part`) is kept beside them, the oldest dropped
    beyond `parts`.
    """

    def __init__(
        self,
        database: Database,
        limit: int = ANSWERS_MAX,
        empty: int = EMPTY_MAX,
        parts: int = PARTS_MAX,
    ) -> None:
        self._database = database
        self._limit, self._empty_limit, self._parts_limit = limit, empty, parts
        self._parts: dict[Question[Any], Live[Any]] = {}
        self._empty: dict[Question[Any], None] = {}
        self._idle: OrderedDict[Question[Any], Live[Any]] = OrderedDict()
        self._heard: dict[Question[Any], Live[Any]] = {}
        self._readers: dict[Bucket, set[Live[Any]]] = {}
        self.on_restored: Callable[[], None] = _nothing
        """Called when the tables were replaced as a whole, after the listeners."""

    def __len__(self) -> int:
        return len(self._idle) + len(self._heard)

    def read(self, question: Question[T]) -> Live[T]:
        """The up-to-date answer."""
        live = self._idle.get(question)
        if live is not None:
            self._idle.move_to_end(question)
        elif (live := self._heard.get(question)) is None:
            live = self._idle[question] = Live(question)
        if live.dirty:
            self._compute(live)
            self._evict()
        return live

    def once(self, question: Question[T]) -> tuple[T, int]:
        """The value now and its index; nothing is kept of either."""
        view = self._database.view()
        value = question.run(view)
        return value, view.index()

    def listen(self, question: Question[Any], wake: Callable[[], None]) -> Callable[[], None]:
        """Call wake after each commit that may have changed the answer; returns what ends that."""
        live = self.read(question)
        self._idle.pop(question, None)
        self._heard[question] = live
        token = object()
        live.listeners[token] = wake

        def end() -> None:
            live.listeners.pop(token, None)
            if not live.listeners and self._heard.pop(question, None) is not None:
                self._idle[question] = live
                self._evict()

        return end

    def committed(self, changed: Set[Bucket]) -> None:
        """Mark and wake whatever read one of these buckets."""
        if self._readers.keys().isdisjoint(changed):
            return
        woken: set[Live[Any]] = set()
        for bucket in changed:
            woken.update(self._readers.get(bucket, ()))
        self._wake(woken)

    def restored(self, *, other: bool = False) -> None:
        """The tables were replaced as a whole: every answer is computed anew.

        By `other` ones than the log led to, every answer has changed, even one that comes out
        equal: who waits for a newer one is answered now.
        """
        woken = {*self._idle.values(), *self._heard.values(), *self._parts.values()}
        if other:
            for live in woken:
                live.index = 0
        self._wake(woken)
        if other:
            self.on_restored()

    def _wake(self, woken: set[Live[Any]]) -> None:
        for live in woken:
            live.dirty = True
        for live in woken:
            for wake in list(live.listeners.values()):
                wake()

    def _part(self, question: Question[Any]) -> Live[Any]:
        live = self._parts.get(question)
        if live is None:
            live = self._parts[question] = Live(question)
        if live.dirty:
            self._compute(live)
        return live

    def _compute(self, live: Live[Any]) -> None:
        view = self._database.view(self._part)
        value = live.question.run(view)
        self._follow(live, view.touched | view.within if view.within else view.touched)
        live.dirty = False
        if live.index == 0 or value != live.value:
            live.value = value
            live.index = max(live.index, view.index())
            live.told = None
            if self._parts.get(live.question) is live:
                return
            if live.value:
                self._empty.pop(live.question, None)
            else:
                self._empty[live.question] = None

    def _follow(self, live: Live[Any], touched: set[Bucket]) -> None:
        before = live.touched
        for bucket in before - touched if before else ():
            self._forget(live, bucket)
        for bucket in touched - before if before else touched:
            if (readers := self._readers.get(bucket)) is None:
                self._readers[bucket] = {live}
            else:
                readers.add(live)
        live.touched = touched

    def _forget(self, live: Live[Any], bucket: Bucket) -> None:
        readers = self._readers[bucket]
        readers.discard(live)
        if not readers:
            del self._readers[bucket]

    def _evict(self) -> None:
        while len(self._empty) > self._empty_limit:
            question = next(iter(self._empty))
            del self._empty[question]
            if (live := self._idle.pop(question, None)) is not None:
                self._drop(live)
        while len(self._parts) > self._parts_limit:
            self._drop(self._parts.pop(next(iter(self._parts))))
        while len(self._idle) > self._limit:
            question, live = self._idle.popitem(last=False)
            self._empty.pop(question, None)
            self._drop(live)

    def _drop(self, live: Live[Any]) -> None:
        for bucket in live.touched:
            self._forget(live, bucket)
        live.touched = set()
        live.dirty = True
