"""What sidecars here saw of calls that intentions refuse, kept in the servers' tables too.

One row of the tables is kept in line with the node's tally, so that every agent can show what all
of them saw, and a restart forgets nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from mesh.clock import Clock, Dice
from mesh.connect.tally import Tally
from mesh.connect.xds.seen import Held, Seen
from mesh.errors import MeshError
from mesh.registry.intentions import Policy
from mesh.registry.port import Registry
from mesh.registry.refusals import Of, Refusal, Tell, together

log = logging.getLogger(__name__)

SETTLE_SECONDS = 1.0
NEWS_SECONDS, COUNTS_SECONDS = 5.0, 60.0
"""Between two writes of this node: when a pair or rule is new, and when only numbers changed."""
RETRY_SECONDS = (1.0, 30.0)


class Refusals:
    """The tally of this node, and its row in the tables."""

    def __init__(self, registry: Registry, node: str, world: tuple[Clock, Dice]) -> None:
        self._registry, self._node = registry, node
        self._clock, self._dice = world
        self._tally = Tally()
        self._told: list[Refusal] | None = None
        self._told_at = -COUNTS_SECONDS
        self._changed = asyncio.Event()

    def note(self, held: Sequence[Held], seen: Seen) -> None:
        """A sidecar saw this, and probably judged by the first of these policies."""
        if self._tally.note(held, seen, self._clock.wall()):
            self._changed.set()
        for line in self._tally.lines():
            log.info("%s", line)

    @property
    def calls(self) -> Mapping[str, int]:
        """How many calls were seen here, by kind."""
        return self._tally.calls

    @property
    def dropped(self) -> Mapping[str, int]:
        """What the report and the log lack, by the reason."""
        return self._tally.dropped

    def settle(self, policy: Policy) -> None:
        """This is the policy from now on."""
        if self._tally.settle(policy):
            self._changed.set()

    def here(self, told: Iterable[Refusal] = ()) -> list[Refusal]:
        """What was seen here; `told` is the node's row, which may be of an earlier life."""
        here = self._tally.all()
        return together(told, here) if self._told is None else here

    async def run(self) -> None:
        """Keep the row in line; never ends."""
        pause = RETRY_SECONDS[0]
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._tell()
                pause = RETRY_SECONDS[0]
            except MeshError as error:
                log.debug("telling what was refused: %s", error)
                self._changed.set()
                await self._clock.sleep(self._dice.uniform(pause / 2, pause))
                pause = min(2 * pause, RETRY_SECONDS[1])

    async def _tell(self) -> None:
        if self._told is None:
            row = (await self._registry.read(Of(self._node))).value
            self._told = row.found if row is not None else []
            self._tally.add(self._told)
        while self._clock.monotonic() < self._due():
            await self._clock.sleep(SETTLE_SECONDS)
        self._tally.forget(self._clock.wall())
        found = self._tally.all()
        if found != self._told:
            await self._registry.write(Tell(self._node, found))
            self._told, self._told_at = found, self._clock.monotonic()

    def _due(self) -> float:
        told = {one.key for one in self._told or ()}
        news = any(one.key not in told for one in self._tally.all())
        return self._told_at + (NEWS_SECONDS if news else COUNTS_SECONDS)
