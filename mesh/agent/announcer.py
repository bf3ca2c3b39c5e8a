"""The announcer: sends the news of this node's health as they become due."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from mesh.agent.news import News
from mesh.clock import Clock
from mesh.errors import MeshError

log = logging.getLogger(__name__)


class Announcer:
    """Takes from the news and gives to `fire`, which spreads an event."""

    def __init__(self, news: News, fire: Callable[[bytes], object], clock: Clock) -> None:
        self._news, self._fire, self._clock = news, fire, clock
        self._woken = asyncio.Event()
        news.wake = self._woken.set

    async def run(self) -> None:
        """Send, for ever."""
        while True:
            self._woken.clear()
            while payload := self._news.take(self._clock.monotonic()):
                try:
                    self._fire(payload)
                except MeshError as error:
                    log.warning("health is not told over gossip: %s", error)
            now = self._clock.monotonic()
            until = self._news.deadline(now)
            try:
                async with asyncio.timeout(None if until == math.inf else max(0.0, until - now)):
                    await self._woken.wait()
            except TimeoutError:
                continue
