"""What a connection needs of the server that it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mesh.http.access import AccessLog
from mesh.http.dispatch import Admitted
from mesh.http.options import Options
from mesh.http.request import Reply
from mesh.http.wire import Head, Heads

if TYPE_CHECKING:
    from mesh.http.connection import Connection


class Owner(Protocol):
    """The server as a connection sees it."""

    @property
    def options(self) -> Options:
        """The present options."""

    connections: set[Connection]
    blocked: set[asyncio.Task[Any]]
    """What is ended at once when the server stops."""
    heads: Heads
    idle_until: float
    """How long the connection that was given the last hit may stay idle."""
    loop: asyncio.AbstractEventLoop | None
    access: AccessLog | None
    """Hears of every request that was answered; None for nobody."""

    def accept(self, client: str) -> bool:
        """Count a connection of this IP address; False when it has too many."""

    def closed(self, client: str) -> None:
        """A connection that was accepted has ended."""

    def slow(self) -> None:
        """Count a client that was cut off for being slow."""

    def malformed(self, reason: str, client: str) -> Reply:
        """Count bytes that are no HTTP."""

    def failed(self) -> Reply:
        """Count an error of our own, which was logged."""

    def admit(self, head: Head, client: str) -> Admitted | Reply:
        """Decide on the head of a request."""

    def hit(self, data: bytes, client: str | None) -> bytes:
        """The response to these bytes of a client, if it is kept and right; else empty."""

    def limit(self, admitted: Admitted) -> int:
        """How large the body may be."""

    async def answer(self, admitted: Admitted) -> Reply:
        """Work on a request, whatever happens to it but cancellation."""

    def small(self, reply: Reply, head: Head) -> bytes:
        """A whole response to a keep-alive client, when that takes next to no time; else empty."""

    async def render(
        self, reply: Reply, head: Head, *, pretty: bool, close: bool
    ) -> Sequence[bytes]:
        """A reply without a stream as bytes, to be sent one after the other."""

    def render_stream(
        self, reply: Reply, head: Head, pieces: AsyncIterator[bytes], *, close: bool
    ) -> tuple[bytes, AsyncIterator[bytes]]:
        """What precedes the stream of a reply, and the pieces as they are sent."""

    def render_head(self, reply: Reply, head: Head, *, close: bool, framing: bytes) -> bytes:
        """What precedes the body of a reply; `framing` says how the body comes."""

    def now(self) -> float:
        """Seconds, as deadlines count them."""
