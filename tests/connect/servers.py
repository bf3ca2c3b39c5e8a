"""Servers in memory whose authority signs leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from mesh.connect import ca
from mesh.connect.ca import LeafSigner
from mesh.errors import MeshError
from mesh.registry import authority
from mesh.registry.authority import Brought, Rules, Settings, Sign, Signed
from mesh.registry.levels import HIGHEST, LEVELS, Level
from mesh.registry.port import STALE, Answer, Query, ReadOptions
from tests.connect.authority import CLUSTER
from tests.connect.hand import HandClock
from tests.registry_memory import MemoryRegistry


class Servers(MemoryRegistry):
    """Tables with an authority that signs, unless it is told to be down."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock)
        self.hand = clock
        transaction = self.database.begin(1)
        transaction.put(LEVELS, Level(number=HIGHEST))
        self.answers.committed(transaction.commit())
        self.apply(ca.found(Settings(cluster_id=CLUSTER), Brought(), ca.Making(clock.now)))
        self.outcomes[Sign] = self.sign
        self.signed = 0
        self.down: MeshError | None = None
        self.lost: MeshError | None = None

    async def watch(
        self, query: Query[Any], options: ReadOptions = STALE
    ) -> AsyncIterator[Answer[Any]]:
        if self.lost is not None:
            raise self.lost
        async for answer in super().watch(query, options):
            yield answer

    @property
    def state(self) -> authority.State:
        found = authority.state(self.database.view())
        assert found is not None
        return found

    def sign(self, order: Sign) -> Signed:
        if self.down is not None:
            raise self.down
        self.signed += 1
        return LeafSigner(self.state, "dc1").sign(order.csr, self.hand.now)

    def rotate(self) -> str:
        making = ca.Making(self.hand.now)
        self.apply(ca.rotate(self.state, Rules(), Brought(), making, force=False))
        return self.state.active.id
