"""A request and its reply as handlers see them: plain values, no sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from mesh.clock import Clock, Dice
from mesh.http.flights import Flights
from mesh.http.kept import Bodies, Body
from mesh.http.options import Options
from mesh.http.splices import Recent
from mesh.registry.port import Answer, Query, ReadOptions, Registry
from mesh.ui.memory import Memory

T = TypeVar("T")

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
UPLOADS_MAX = 2
"""Snapshots that one node takes for a restore at once: each is a file on its disk."""


class Parts(msgspec.Struct, frozen=True):
    """The parts of the process that handlers may use."""

    registry: Registry
    clock: Clock
    dice: Dice
    agent: Any = None
    """The local agent, for /v1/agent."""
    uploads: asyncio.Semaphore = msgspec.field(
        default_factory=lambda: asyncio.Semaphore(UPLOADS_MAX)
    )
    """For snapshots that are being restored."""
    recent: Recent = msgspec.field(default_factory=Recent)
    """What pages of the UI were told."""
    flights: Flights = msgspec.field(default_factory=Flights)
    """What pages of the UI wait for."""
    memory: Memory = msgspec.field(default_factory=Memory)
    """For pages that ask again and again."""


class Request(msgspec.Struct):
    """One request, read whole. The path is the decoded one."""

    parts: Parts
    options: Options
    method: str = "GET"
    path: str = "/"
    rest: str = ""
    """What follows the route's fixed part, percent-decoded: the key, the service name ..."""
    params: Mapping[str, list[str]] = {}
    headers: Mapping[str, str] = {}
    """By their names in lower case."""
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    """The body piece by piece, for routes that take it so."""
    remote: str = ""
    """The client's IP address."""
    bodies: Bodies = msgspec.field(default_factory=Bodies)
    """Where the server keeps what it made of answers."""
    reads: list[tuple[Query[Any], ReadOptions, Answer[Any]]] = []
    """What was read through `read`."""
    inner: Inner | None = None
    """Answers a GET in the name of a request: its target, as it would be sent."""

    async def read(self, query: Query[T], options: ReadOptions) -> Answer[T]:
        """Read from the registry, for a reply that may be kept: see `Route.kept`."""
        answer = await self.parts.registry.read(query, options)
        self.reads.append((query, options, answer))
        return answer

    def param(self, name: str) -> str:
        """The first value of a query parameter, or "" when it is absent or bare."""
        values = self.params.get(name)
        return values[0] if values else ""


class Reply(msgspec.Struct):
    """What to answer. The server adds the headers that every response has, and pretty-prints."""

    body: bytes = b""
    status: int = 200
    content_type: str = JSON
    headers: dict[str, str] = {}
    pieces: list[bytes] = []
    """A large body, indented if so wanted, whose pieces are sent one by one, instead of `body`."""
    kept: Body | None = None
    """What keeps the forms of this body, for others who get it."""
    stream: AsyncIterator[bytes] | None = None
    """What follows the headers piece by piece, instead of a body."""
    ends: bool = False
    """Whether the stream has an end: less of it is no answer, and must not look like one."""
    source: Any = None
    """The `hits.Source` it follows from, if it may be kept."""


Handler: TypeAlias = Callable[[Request], Awaitable[Reply]]
Inner: TypeAlias = Callable[[Request, str], Awaitable[Reply]]
