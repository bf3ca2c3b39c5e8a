"""Watching: follows the watches of the configuration and tells their handlers the news."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from mesh.agent import webhooks
from mesh.agent.scripts import CannotStart, Given, Tail, execute
from mesh.agent.watches import HttpHandler, News, Watch
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.1
"""At least between two answers to one watch, so that no handler runs all the time."""
RETRY_SECONDS = 5.0
RETRY_MAX_SECONDS = 180.0
OUTPUT_MAX_BYTES = 4096
"""Of what a handler says, for the log."""


class Heard(msgspec.Struct, frozen=True):
    """The response to a read."""

    status: int
    index: int
    body: bytes


async def tell(watch: Watch, index: int, news: bytes) -> str:
    """Give the news to the watch's handler; what it said. Raises a MeshError or OSError."""
    if isinstance(watch.handler, HttpHandler):
        await webhooks.send(watch.handler, index, news)
        return ""
    assert watch.handler is not None, "somebody is told"
    said = Tail(OUTPUT_MAX_BYTES)
    given = Given(news, {"CONSUL_INDEX": str(index)})
    code = await execute(watch.handler.args, watch.handler.seconds, said.add, given)
    if code:
        raise CannotStart(f"{watch.handler.args[0]}: exit code {code}: {said.text}")
    return said.text


class Watching:
    """One task a watch. `ask` reads the HTTP API. `counters` counts news told and failures."""

    def __init__(self, ask: Callable[[str], Awaitable[Heard]], clock: Clock) -> None:
        self._ask, self._clock = ask, clock
        self._tasks = Tasks()
        self.counters: Counter[str] = Counter()

    async def follow(self, watches: Iterable[Watch]) -> None:
        """Follow these, and the ones that were followed so far no more."""
        await self._tasks.stop()
        for watch in watches:
            self._tasks.start(self._follow(watch), name=f"watch {watch}")

    async def stop(self) -> None:
        """Follow nothing any more, and end the handlers that run."""
        await self._tasks.stop()

    async def _follow(self, watch: Watch) -> None:
        news, failures = News(watch), 0
        while True:
            target = watch.blocking(news.index) if news.index else watch.target
            try:
                heard = await self._ask(target)
                told = news.take(heard.status, heard.index, heard.body)
            except MeshError as error:
                failures += 1
                news.index = 0
                pause = min(RETRY_SECONDS * failures, RETRY_MAX_SECONDS)
                log.warning("watch %s: %s; next try in %.0f s", watch, error, pause)
                self.counters["failures"] += 1
                await self._clock.sleep(pause)
                continue
            failures = 0
            if told is not None:
                await self._tell(watch, heard.index, told)
            await self._clock.sleep(PAUSE_SECONDS)

    async def _tell(self, watch: Watch, index: int, news: bytes) -> None:
        try:
            said = await tell(watch, index, news)
        except (MeshError, OSError) as error:  # Such as no file left to open.
            self.counters["handler_failures"] += 1
            reason = str(error) or "it took too long"
            log.warning("watch %s: its handler failed: %s", watch, reason)
        else:
            self.counters["told"] += 1
            log.debug("watch %s: its handler said: %s", watch, said)
