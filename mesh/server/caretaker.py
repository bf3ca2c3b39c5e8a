"""The caretaker: on the leader, ends the maintenance whose time is over."""

from __future__ import annotations

import logging

from mesh.clock import Clock, Dice
from mesh.errors import MeshError
from mesh.registry import maintenance
from mesh.registry.port import WriteOptions
from mesh.rpc.forwarded import Consensus, Forwarded
from mesh.store.database import Database

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How late it may end: a look at one small table costs nothing."""


class Caretaker:
    """Looks whether something was to end by now."""

    def __init__(
        self,
        as_leader: Forwarded,
        consensus: Consensus,
        database: Database,
        world: tuple[Clock, Dice],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        # Not the router: whoever leads next looks for itself.
        self._as_leader, self._consensus, self._database = as_leader, consensus, database
        (self._clock, self._dice), self._seconds = world, look_seconds

    async def run(self) -> None:
        """Look again and again; never ends."""
        while True:
            await self._clock.sleep(self._seconds)
            if self._consensus.is_leader and self._due():
                await self._expire()

    def _due(self) -> bool:
        now = self._clock.wall()
        rows = self._database.view().every(maintenance.TABLE)
        return any(0 < row.until <= now for row in rows)

    async def _expire(self) -> None:
        options = WriteOptions(request=self._dice.uuid(), origin="leader")
        try:
            ended = await self._as_leader.write(maintenance.Expire(), options)
        except MeshError as error:
            log.info("ending maintenance whose time is over: %s", error)
            return
        log.info("maintenance: the time of %d is over", ended)
