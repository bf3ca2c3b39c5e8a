"""Founding: the config entries that the servers' configuration brings along are created once.

What is there already stays as it is, whoever wrote it; what was deleted comes back with the next
server that begins to lead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from mesh.clock import Clock, Dice
from mesh.errors import MeshError
from mesh.registry.config import Create, Write
from mesh.registry.levels import MESH
from mesh.registry.port import WriteOptions
from mesh.rpc.forwarded import Forwarded

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class Founding:
    """Creates `wanted` whenever this server begins to lead. `leads` and `level` are asked."""

    def __init__(
        self,
        as_leader: Forwarded,
        leads: Callable[[], bool],
        level: Callable[[], int],
        wanted: Sequence[Write],
        world: tuple[Clock, Dice],
    ) -> None:
        self._as_leader, self._leads, self._level = as_leader, leads, level
        self._clock, self._dice = world
        self._wanted = wanted
        self._done = False

    async def run(self) -> None:
        """Look every second; never ends."""
        while True:
            await self.look()
            await self._clock.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Create them, unless that is done since this server leads."""
        if not self._leads() or self._level() < MESH:
            self._done = False
        elif not self._done:
            self._done = all([await self._create(entry) for entry in self._wanted])

    async def _create(self, entry: Write) -> bool:
        """Whether it need not be tried again."""
        name = f"{entry.kind}/{entry.name}"
        options = WriteOptions(request=self._dice.uuid(), origin="leader")
        try:
            if await self._as_leader.write(Create(entry), options):
                log.info("config_entries.bootstrap: created %s", name)
        except MeshError as error:
            log.warning("config_entries.bootstrap: %s is not created: %s", name, error)
            return not error.retry
        return True
