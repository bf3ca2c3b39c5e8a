"""Following: answers that several parts of an agent need, each watched once."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.registry.port import Answer, Query, Registry
from mesh.tasks import Tasks

log = logging.getLogger(__name__)
T = TypeVar("T")

AGAIN_SECONDS = (0.5, 10.0)
"""After a watch ended, as with the last server: the first pause, and the longest, for servers that
refuse a query, as those of an older mesh do."""


class Followed(Generic[T]):
    """One answer, as it was last."""

    def __init__(self) -> None:
        self.value: T | None = None
        self.known = False
        """Whether there was an answer yet."""
        self.index = 0
        self.listeners: dict[object, Callable[[], None]] = {}


class Following:
    """Watches each query once, for as long as somebody wants to know."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry, self._clock = registry, clock
        self._followed: dict[Query[Any], Followed[Any]] = {}
        self._running: dict[Query[Any], Any] = {}
        self._tasks = Tasks()

    def follow(
        self, query: Query[T], changed: Callable[[], None]
    ) -> tuple[Followed[T], Callable[[], None]]:
        """The answer, which is filled and renewed, and what ends that. `changed` is called then."""
        one = self._followed.get(query)
        if one is None:
            one = self._followed[query] = Followed()
            self._running[query] = self._tasks.start(
                self._watch(query, one), name=f"following {query}"
            )
        mark = object()
        one.listeners[mark] = changed

        def end() -> None:
            one.listeners.pop(mark, None)
            if not one.listeners and self._followed.get(query) is one:
                del self._followed[query]
                self._running.pop(query).cancel()

        return one, end

    def last(self, query: Query[T]) -> Answer[T] | None:
        """The last answer, if this is followed; how old it is nobody knows."""
        one = self._followed.get(query)
        if one is None or not one.known:
            return None
        value: Any = one.value
        return Answer(value, one.index, known_leader=False, last_contact=math.inf, age=0.0)

    async def stop(self) -> None:
        """Follow nothing any more."""
        await self._tasks.stop()

    async def _watch(self, query: Query[T], one: Followed[T]) -> None:
        pause = AGAIN_SECONDS[0]
        while True:
            try:
                async for answer in self._registry.watch(query):
                    pause = AGAIN_SECONDS[0]
                    one.value, one.known, one.index = answer.value, True, answer.index
                    for listener in list(one.listeners.values()):
                        listener()
            except MeshError as error:
                log.debug("following %s: %s", query, error)
            await self._clock.sleep(pause)
            pause = min(2 * pause, AGAIN_SECONDS[1])
