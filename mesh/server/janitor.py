"""The janitor: frees what restores left behind that nobody goes on with."""

from __future__ import annotations

import logging

from mesh.clock import Clock, Dice
from mesh.errors import MeshError
from mesh.registry.levels import RESTORES, Present
from mesh.registry.port import READ, WriteOptions
from mesh.registry.restores import IDLE_SECONDS, UNDER_WAY, Abandon, State
from mesh.rpc.forwarded import Consensus, Forwarded

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
WORK_SECONDS = 0.1
"""Between two log entries that free a part each."""


class Janitor:
    """Looks now and then, while this server leads."""

    def __init__(
        self, as_leader: Forwarded, consensus: Consensus, world: tuple[Clock, Dice]
    ) -> None:
        self._as_leader, self._consensus = as_leader, consensus
        self._clock, self._dice = world

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                left = await self.look() if self._consensus.is_leader else 0
            except MeshError as error:
                log.warning("freeing what a restore left: %s", error)
                left = 0
            await self._clock.sleep(WORK_SECONDS if left else LOOK_SECONDS)

    async def look(self) -> int:
        """Free a part of what was left, if anything was; how much there is still."""
        if (await self._as_leader.read(Present(), READ)).value < RESTORES:
            return 0
        state = (await self._as_leader.read(State(), READ)).value
        now = self._clock.wall()
        if not any(
            row.key == UNDER_WAY and (row.abandoned or row.heard < now - IDLE_SECONDS)
            for row in state
        ):
            return 0
        log.info("freeing what a restore left that nobody goes on with")
        options = WriteOptions(request=self._dice.uuid(), origin="leader")
        return await self._as_leader.write(Abandon(), options)
