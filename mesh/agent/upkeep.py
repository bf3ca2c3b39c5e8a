"""Upkeep: what the agent knows of cluster-wide maintenance of this node and its services."""

from __future__ import annotations

import logging
from collections.abc import Callable

from mesh.agent.state import Here
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.registry.catalog import Check, Service
from mesh.registry.maintenance import All, Maintenance, check, covering
from mesh.registry.port import Registry

log = logging.getLogger(__name__)

AGAIN_SECONDS = 10.0


class Upkeep:
    """Follows what is in maintenance. `changed` is called after each change.

    The servers put the checks into the catalog; this is for who asks this node alone.
    """

    def __init__(
        self, here: Here, registry: Registry, clock: Clock, changed: Callable[[], None]
    ) -> None:
        self._here, self._registry, self._clock = here, registry, clock
        self._changed = changed
        self._rows: list[Maintenance] = []

    async def run(self) -> None:
        """Follow; never ends."""
        while True:
            try:
                async for answer in self._registry.watch(All()):
                    self._rows = answer.value
                    self._changed()
            except MeshError as error:
                # Servers of an older mesh know of no such thing.
                log.debug("following cluster-wide maintenance: %s", error)
            await self._clock.sleep(AGAIN_SECONDS)

    def checks(self, service: Service | None) -> list[Check]:
        """The checks that this puts on a service of this node, or on the node itself."""
        now, node = self._clock.wall(), self._here.node()
        rows = [row for row in self._rows if not 0 < row.until <= now]
        named = (service.name, service.id) if service is not None else None
        found = covering(rows, node.name, named)
        return [check(node, service, found)] if found else []
