"""Client connections: how many, how long they may idle, how large a head and how slow a client."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from mesh.http.options import Options

log = logging.getLogger(__name__)

HEAD_LINE_MAX_BYTES = 64 * 1024
HEADERS_MAX = 256
_TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class Owner(Protocol):
    """The server that the connections belong to."""

    counters: Counter[str]

    @property
    def options(self) -> Options:
        """The limits of a new connection."""
        ...

    def accept(self, client: str) -> bool:
        """Count a connection of this IP address; False when it has too many."""
        ...

    def closed(self, client: str) -> None:
        """A connection that was accepted has ended."""
        ...


class Connections(web.Server):
    """aiohttp's factory of connections, making ours."""

    def __init__(
        self, owner: Owner, serve: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    ) -> None:
        super().__init__(serve, handler_cancellation=True)
        self.owner = owner

    def __call__(self) -> RequestHandler:
        return _Connection(self)


class _Connection(RequestHandler):
    """One client connection.

    It is closed when no whole head of a request comes for `idle_seconds`, and when the client takes
    nothing of a response for `write_stall_seconds`. Malformed bytes are counted.
    """

    def __init__(self, manager: Connections) -> None:
        options = manager.owner.options
        super().__init__(
            manager,
            loop=asyncio.get_running_loop(),
            logger=log,
            max_line_size=HEAD_LINE_MAX_BYTES,
            max_field_size=HEAD_LINE_MAX_BYTES,
            max_headers=HEADERS_MAX,
            auto_decompress=False,
            keepalive_timeout=options.idle_seconds,
        )
        self._logging_enabled = False  # No access log: it would cost more than the answer.
        self._owner = manager.owner
        self._client: str | None = None
        self._head_max, self._head_size = options.head_max_bytes, 0
        self._write_seconds, self._unsent = options.write_stall_seconds, 0
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse the connection if its client has too many."""
        assert isinstance(transport, asyncio.Transport)
        peer = transport.get_extra_info("peername")
        client = peer[0] if isinstance(peer, tuple) else ""
        if self._owner.accept(client):
            self._client = client
            super().connection_made(transport)
            return
        self._refuse(transport, _TOO_MANY)

    def _refuse(self, transport: asyncio.Transport, response: bytes) -> None:
        self._force_close = True
        transport.write(response)
        transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Uncount the connection."""
        if self._client is not None:
            self._owner.closed(self._client)
            self._client = None
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless a head is larger than allowed."""
        heads = self._request_count
        super().data_received(data)
        if self._request_count != heads or self._waiter is None:  # What came is no part of a head.
            self._head_size = 0
            return
        self._head_size += len(data)
        if self._head_size > self._head_max and self.transport is not None:
            self._owner.counters["malformed"] += 1
            self._refuse(self.transport, _TOO_LARGE)

    def pause_writing(self) -> None:
        """The client does not read as fast as we write: it has some time."""
        super().pause_writing()
        if self._stalled is None:
            self._unsent = 0
            self._await_progress()

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _await_progress(self) -> None:
        transport = self.transport
        if transport is None:
            return
        unsent = transport.get_write_buffer_size()
        if self._unsent and unsent >= self._unsent:
            self._owner.counters["slow"] += 1
            transport.abort()
            return
        self._unsent = unsent
        self._stalled = self._loop.call_later(self._write_seconds, self._await_progress)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Bytes that are no HTTP: 400 with a line, and the connection ends."""
        self._owner.counters["malformed"] += 1
        log.debug("malformed request from %s: %s", request.remote, exc)
        if request.writer.output_size > 0:
            raise ConnectionError("part of a response was sent already")
        line = (message or "malformed request").splitlines()[0]
        response = web.Response(status=status, text=f"Bad Request: {line}")
        response.force_close()
        return response
