"""Local answers: reads and waits on the tables of this server."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from mesh.registry.port import Answer, Query, ReadOptions
from mesh.store.live import Answers, Live

T = TypeVar("T")


class LocalReader:
    """Reads this server's tables; a read that names an index waits until it is passed."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._waiting: set[asyncio.Event] = set()
        self._interrupts = 0

    def interrupt(self) -> None:
        """End every wait now: leadership changed, so what they wait for may come elsewhere."""
        self._interrupts += 1
        for event in self._waiting:
            event.set()

    async def read(self, query: Query[T], options: ReadOptions) -> Answer[T]:
        """Answer at once, or when the index is above the one in the options, or time is out."""
        live: Live[T] = self._answers.read(query)
        if options.index > 0 and live.index <= options.index and options.wait > 0:
            live = await self._wait(query, options)
        return Answer(live.value, live.index)

    async def _wait(self, query: Query[T], options: ReadOptions) -> Live[T]:
        answers, changed, before = self._answers, asyncio.Event(), self._interrupts
        end = answers.listen(query, changed.set)
        self._waiting.add(changed)
        try:
            async with asyncio.timeout(options.wait):
                while True:
                    await changed.wait()
                    changed.clear()
                    live: Live[T] = answers.read(query)
                    if live.index > options.index or self._interrupts != before:
                        return live
        except TimeoutError:
            return answers.read(query)
        finally:
            self._waiting.discard(changed)
            end()
