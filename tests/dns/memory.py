"""A registry in memory: the real tables, commands and live answers, without a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from mesh.errors import MeshError, NotFound
from mesh.registry.port import (
    READ,
    STALE,
    WRITE,
    Answer,
    Command,
    Query,
    ReadOptions,
    ServerStatus,
    WriteOptions,
)
from mesh.registry.requests import TABLES
from mesh.store.database import Database
from mesh.store.live import Answers

T = TypeVar("T")


class MemoryRegistry:
    def __init__(self) -> None:
        self.database = Database(TABLES)
        self.answers = Answers(self.database)
        self.elsewhere: dict[str, MemoryRegistry] = {}
        self.error: MeshError | None = None
        self.last_contact = 0.0
        self.gate: asyncio.Event | None = None
        self.seen: list[ReadOptions] = []

    def apply(self, command: Command[T]) -> T:
        command.validate()
        transaction = self.database.begin(self.database.index + 1)
        result = command.apply(transaction)
        self.answers.committed(transaction.commit())
        return result

    async def read(self, query: Query[T], options: ReadOptions = READ) -> Answer[T]:
        self.seen = [options]
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        if options.datacenter:
            there = self.elsewhere.get(options.datacenter)
            if there is None:
                raise NotFound(f"no path to datacenter {options.datacenter}")
            return await there.read(query)
        live = self.answers.read(query)
        return Answer(live.value, live.index, last_contact=self.last_contact)

    async def write(self, command: Command[T], options: WriteOptions = WRITE) -> T:
        return self.apply(command)

    async def watch(
        self, query: Query[T], options: ReadOptions = STALE
    ) -> AsyncIterator[Answer[T]]:
        yield await self.read(query, options)

    async def status(self, datacenter: str = "") -> ServerStatus:
        return ServerStatus("127.0.0.1:8300", ["127.0.0.1:8300"])


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
