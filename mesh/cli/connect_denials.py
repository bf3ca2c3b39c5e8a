"""Whom intentions refuse, or would by dry runs, told to the agent, as Envoys tell it."""

from __future__ import annotations

import asyncio
import logging

from mesh.client import Client, Settings, connect
from mesh.client.connect import Judged
from mesh.client.following import patient
from mesh.clock import Clock
from mesh.connect.proxy import Verdict
from mesh.errors import MeshError, NotFound

log = logging.getLogger(__name__)

TELL_SECONDS, AGAIN_SECONDS = 1.0, 5.0
"""How long is gathered what is told; the pause after the agent did not answer."""
ANSWER_SECONDS = 2.0


class Denials:
    """Counts them by caller until the agent has heard of them."""

    def __init__(self, service: str, settings: Settings, clock: Clock) -> None:
        self._service, self._clock = service, clock
        self._settings = patient(settings, ANSWER_SECONDS)
        self._counts: dict[Judged, int] = {}
        self._some = asyncio.Event()
        self._heard = True

    def note(self, caller: str, verdict: Verdict) -> None:
        """So was judged who has this SPIFFE ID. More than is told at once is forgotten."""
        self._add(Judged(caller, verdict.allowed, verdict.dry_run), 1)

    def _add(self, one: Judged, count: int) -> None:
        if one in self._counts or len(self._counts) < connect.CALLERS_MAX:
            self._counts[one] = min(self._counts.get(one, 0) + count, connect.COUNT_MAX)
            self._some.set()

    async def run(self) -> None:
        """Tell what there is, again and again; ends when the agent cannot hear it."""
        pause = TELL_SECONDS
        while self._heard:
            await self._some.wait()
            await self._clock.sleep(pause)
            pause = TELL_SECONDS if await self.tell() else AGAIN_SECONDS

    async def tell(self) -> bool:
        """Tell what there is; False if it has to be told again."""
        counts, self._counts = self._counts, {}
        self._some.clear()
        if not counts or not self._heard:
            return True
        try:
            await asyncio.to_thread(self._say, counts)
        except NotFound:
            self._heard = False
            log.info("the agent is too old to hear whom intentions refuse")
        except MeshError as error:
            log.debug("telling whom intentions refuse: %s", error)
            for one, count in counts.items():
                self._add(one, count)
            return False
        return True

    def _say(self, counts: dict[Judged, int]) -> None:
        with Client(self._settings) as client:
            client.run(connect.refused(self._service, counts))
