"""What the tests of DNS ask: a registry in memory with other datacenters, and a stopped clock."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from mesh.errors import NoPath
from mesh.registry.port import READ, Answer, Query, ReadOptions
from tests import registry_memory

T = TypeVar("T")


class MemoryRegistry(registry_memory.MemoryRegistry):
    """A registry whose reads can be held up by a gate, and that knows other datacenters."""

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere: dict[str, MemoryRegistry] = {}
        self.gate: asyncio.Event | None = None
        self.seen: list[ReadOptions] = []

    async def read(self, query: Query[T], options: ReadOptions = READ) -> Answer[T]:
        self.seen = [options]
        if self.gate is not None:
            await self.gate.wait()
        if options.datacenter and self.error is None:
            there = self.elsewhere.get(options.datacenter)
            if there is None:
                raise NoPath(f"no path to datacenter {options.datacenter}")
            return await there.read(query)
        return await super().read(query, options)

    def at_once(self, query: Query[T], options: ReadOptions) -> Answer[T] | None:
        self.seen = [options]
        if self.gate is not None or options.datacenter:
            return None
        return super().at_once(query, options)


class StoppedClock:
    """A clock that stands still until it is moved; sleepers wake when told."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")
