"""Position: tells the servers now and then where this node is in the network."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from mesh.clock import Clock, Dice
from mesh.errors import MeshError
from mesh.registry.coordinates import Coordinate, Placed, Report
from mesh.registry.port import Registry

log = logging.getLogger(__name__)


class Pace(msgspec.Struct, frozen=True):
    """How often: so rarely that all nodes together stay below a rate."""

    per_second_max: float = 64.0
    interval_min_seconds: float = 15.0

    def interval(self, members: int) -> float:
        """Seconds between two reports of one node."""
        return max(self.interval_min_seconds, members / self.per_second_max)


PACE = Pace()


class Position:
    """Reports the coordinate of this node, as long as all servers take such reports."""

    def __init__(
        self,
        node: str,
        registry: Registry,
        coordinate: Callable[[], Coordinate],
        world: tuple[Clock, Dice],
        pace: Pace = PACE,
    ) -> None:
        self._node, self._registry, self._coordinate = node, registry, coordinate
        self._clock, self._dice = world
        self._pace = pace

    async def run(self, members: Callable[[], int], taken: Callable[[], bool]) -> None:
        """Report for ever. `members` counts the pool; `taken` says whether servers know how to."""
        # Soon after the start, yet not all nodes at once when all start together.
        pause = self._dice.uniform(0.0, self._pace.interval(members()))
        while True:
            await self._clock.sleep(pause)
            interval = self._pace.interval(members())
            pause = interval + self._dice.uniform(0.0, interval)
            if taken():
                await self._report()

    async def _report(self) -> None:
        try:
            await self._registry.operate(Report(Placed(self._node, self._coordinate())))
        except MeshError as error:
            log.debug("telling the servers where this node is: %s", error)
