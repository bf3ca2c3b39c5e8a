"""Local answers: reads and waits on the tables of this server.

All who wait for one answer are one crowd: a commit that may have changed it has it computed once,
and wakes those for whom it is newer than what they know. Nobody else is woken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from mesh.registry.port import Answer, Query, ReadOptions
from mesh.store.live import Answers, Live

T = TypeVar("T")


class _Crowd:
    """Those who wait for one answer, each with the index it has to pass."""

    __slots__ = ("due", "end", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[asyncio.Future[None], int] = {}
        self.due = False
        self.end: Callable[[], None]


class LocalReader:
    """Reads this server's tables; a read that names an index waits until it is passed.

    `woken` counts the waits that a change ended.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._crowds: dict[Query[Any], _Crowd] = {}
        self.woken = 0
        answers.on_restored = self.interrupt

    @property
    def waiting(self) -> int:
        """How many reads wait."""
        return sum(len(crowd.waiting) for crowd in self._crowds.values())

    def interrupt(self) -> None:
        """End every wait now: what they wait for may come elsewhere, or never.

        That is so when leadership changed, and when the tables were replaced as a whole.
        """
        for crowd in self._crowds.values():
            for future in crowd.waiting:
                _end(future)

    def at_once(self, query: Query[T]) -> Answer[T] | None:
        """What `read` without an index answers, the same object until that changes.

        None when it is not shared.
        """
        if not query.shared:
            return None
        return _told(self._answers.read(query))

    def asking(self, query: Query[T]) -> Callable[[], Answer[T]]:
        """What calls `at_once` with this query, which is shared."""
        assert query.shared, "answers that are not shared are not kept"
        live: Live[T] = self._answers.read(query)

        def ask() -> Answer[T]:
            nonlocal live
            if live.dirty:  # As is one that was dropped.
                live = self._answers.read(query)
            told: Answer[T] | None = live.told
            return _told(live) if told is None else told

        return ask

    def mind(self, query: Query[Any], changed: Callable[[], None]) -> Callable[[], None]:
        """Call back whenever `at_once` may say something else; returns what ends that."""
        return self._answers.listen(query, changed)

    async def read(self, query: Query[T], options: ReadOptions) -> Answer[T]:
        """Answer at once, or when the index is above the one in the options, or time is out.

        Of answers that are not shared nothing is kept, so nobody waits for those.
        """
        if not query.shared:
            return Answer(*self._answers.once(query))
        live: Live[T] = self._answers.read(query)
        if options.index > 0 and live.index <= options.index and options.wait > 0:
            await self._wait(query, options)
            live = self._answers.read(query)
        return Answer(live.value, live.index)

    async def _wait(self, query: Query[Any], options: ReadOptions) -> None:
        loop = asyncio.get_running_loop()
        crowd = self._crowds.get(query) or self._gather(query, loop)
        future: asyncio.Future[None] = loop.create_future()
        crowd.waiting[future] = options.index
        timer = loop.call_later(options.wait, _end, future)
        try:
            await future
        finally:
            timer.cancel()
            del crowd.waiting[future]
            if not crowd.waiting:
                del self._crowds[query]
                crowd.end()

    def _gather(self, query: Query[Any], loop: asyncio.AbstractEventLoop) -> _Crowd:
        crowd = self._crowds[query] = _Crowd()

        def stir() -> None:
            # Once for all commits of this turn of the loop, and not within the commit.
            if not crowd.due:
                crowd.due = True
                loop.call_soon(self._look, query, crowd)

        crowd.end = self._answers.listen(query, stir)
        return crowd

    def _look(self, query: Query[Any], crowd: _Crowd) -> None:
        crowd.due, index = False, None
        if not crowd.waiting:
            return
        try:
            index = self._answers.read(query).index
        finally:
            # A query that failed is read again by each who waits, and fails there.
            for future, known in crowd.waiting.items():
                if index is None or index > known:
                    self.woken += not future.done()
                    _end(future)


def _told(live: Live[T]) -> Answer[T]:
    told: Answer[T] | None = live.told
    if told is None:
        told = live.told = Answer(live.value, live.index)
    return told


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
