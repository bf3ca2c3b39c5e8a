"""The historian: while this server leads, the cluster keeps as much history as it says."""

from __future__ import annotations

import logging
from collections.abc import Callable

from mesh.clock import Clock, Dice
from mesh.errors import MeshError
from mesh.registry import history
from mesh.registry.levels import HISTORY
from mesh.registry.port import READ, WriteOptions
from mesh.rpc.forwarded import Forwarded

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0


class Historian:
    """Writes `wanted` down where the cluster has other limits. `leads` and `level` are asked."""

    def __init__(
        self,
        as_leader: Forwarded,
        leads: Callable[[], bool],
        level: Callable[[], int],
        wanted: history.Limit,
        world: tuple[Clock, Dice],
    ) -> None:
        self._as_leader, self._leads, self._level = as_leader, leads, level
        self._clock, self._dice = world
        self.wanted = wanted

    async def run(self) -> None:
        """Look every few seconds; never ends."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            if not self._leads() or self._level() < HISTORY:
                continue
            try:
                await self.look()
            except MeshError as error:
                log.info("the limits of history are not written: %s", error)

    async def look(self) -> None:
        """Write the limits once, if they differ. Raises a MeshError when that fails."""
        found = (await self._as_leader.read(history.Present(), READ)).value or history.DEFAULTS
        wanted = self.wanted
        if (found.bytes_max, found.seconds_max) == (wanted.bytes_max, wanted.seconds_max):
            return
        log.info("history: keeping %d bytes, %.0f s", wanted.bytes_max, wanted.seconds_max)
        options = WriteOptions(request=self._dice.uuid(), origin="leader")
        await self._as_leader.write(wanted, options)
