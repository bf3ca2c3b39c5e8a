"""The cartographer: on the leader, gathers what nodes tell of their place and writes it down."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mesh.clock import Clock, Dice
from mesh.errors import Conflict, MeshError
from mesh.registry import coordinates
from mesh.registry.levels import COORDINATES
from mesh.registry.port import Order, WriteOptions
from mesh.rpc.forwarded import Forwarded

log = logging.getLogger(__name__)

WRITE_SECONDS = 5.0
"""Between two batches: one log entry each, whatever the number of nodes."""


class Cartographer:
    """Carries out the orders about coordinates. `level` gives the level the cluster has.

    `datacenters` is given by whoever knows the pool of all datacenters.
    """

    def __init__(
        self,
        as_leader: Forwarded,
        level: Callable[[], int],
        world: tuple[Clock, Dice],
        write_seconds: float = WRITE_SECONDS,
    ) -> None:
        # Not the router: whoever leads next hears of the nodes itself.
        self._as_leader, self._level, self._seconds = as_leader, level, write_seconds
        self._clock, self._dice = world
        self.batch = coordinates.Batch()
        self.datacenters: Callable[[], list[coordinates.DatacenterMap]] = list
        self.orders: Mapping[type[Order[Any]], Callable[[Any], Awaitable[Any]]] = {
            coordinates.Report: self._report,
            coordinates.Datacenters: self._datacenters,
        }

    async def _report(self, order: coordinates.Report) -> bool:
        if self._level() < COORDINATES:
            raise Conflict(
                f"coordinates need feature level {COORDINATES}: upgrade every server, then run "
                "meshctl operator upgrade finalize"
            )
        return self.batch.add(order.placed)

    async def _datacenters(self, _: coordinates.Datacenters) -> list[coordinates.DatacenterMap]:
        return self.datacenters()

    async def run(self) -> None:
        """Write what has gathered, now and then; never ends."""
        while True:
            await self._clock.sleep(self._seconds)
            update = self.batch.take()
            if update is None:
                continue
            options = WriteOptions(request=self._dice.uuid(), origin="leader")
            try:
                await self._as_leader.write(update, options)
            except MeshError as error:
                # Every node tells it again soon.
                log.info("%d coordinates are not written: %s", len(update.updates), error)
