"""A server as its clients find it behind a worker: the worker's own code, in this process."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.front.board import Board
from mesh.front.client import Fronting
from mesh.front.keep import Deadline, Responses
from mesh.front.link import Link
from mesh.front.offers import Offers
from mesh.http.server import HttpServer, Options, Parts
from mesh.tasks import Tasks
from tests.compat.conftest import Api
from tests.registry_memory import MemoryRegistry


class Fronted(Api):
    """A client of a worker in front of a server."""

    def __init__(self, server: HttpServer, registry: MemoryRegistry) -> None:
        super().__init__(server, registry)
        self.board = Board()
        self.board.alive_until = self.board.leased_until = math.inf
        self.offers = Offers(self.board, registry)
        clock = SystemClock()
        self.responses = Responses(Deadline(self.board, clock))
        self.fronting = Fronting(self.responses, clock, self._take)
        self.fronting.idle_seconds = server.options.idle_seconds
        self.tasks = Tasks()
        self._address = ("", 0)

    @property
    def address(self) -> tuple[str, int]:
        return self._address

    @property
    def hits(self) -> int:
        """How many answers the worker gave by itself."""
        return sum(one.count for one in self.responses.took.values())

    def _take(self, theirs: socket.socket) -> None:
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        link = loop.connect_accepted_socket(lambda: Link(self.server, self.offers), theirs)
        self.tasks.start(_only(link), name="link")

    async def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self._address = listener.getsockname()
        await self.fronting.start([listener])

    async def stop(self) -> None:
        self.fronting.halt()
        await self.fronting.tasks.stop()
        await self.tasks.stop()
        for connection in list(self.fronting.connections):
            connection._transport.abort()


async def _only(work: Awaitable[object]) -> None:
    await work


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Fronted]]]:
    running: list[Fronted] = []

    async def start(**options: Any) -> Fronted:
        registry = MemoryRegistry()
        parts = Parts(registry, SystemClock(), SeededDice(1))
        made = Options(addresses=[("127.0.0.1", 0)], datacenter="dc1", node_name="n0", **options)
        server = HttpServer(parts, made)
        await server.start()
        one = Fronted(server, registry)
        running.append(one)
        await one.start()
        return one

    yield start
    for one in running:
        await one.stop()
        await one.server.stop()


@pytest.fixture
async def api(serve: Callable[..., Awaitable[Fronted]]) -> Fronted:
    return await serve()
