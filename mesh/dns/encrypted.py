"""Encrypted: connections of DNS over TLS, accepted and seen through their handshake (RFC 7858)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from mesh.tasks import Tasks

ACCEPTS_AT_ONCE = 16
HANDSHAKE_SECONDS = 5.0
HANDSHAKES_MAX = 128  # Beyond that the oldest, most likely a silent one, gives way.
SHUTDOWN_SECONDS = 1.0
EXHAUSTED_SECONDS = 1.0  # Until the next try when there are no file descriptors.
BUFFER_BYTES = 64 * 1024

Serving: TypeAlias = Callable[[], ssl.SSLContext]
"""What to show to the next client."""
Welcome: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Encrypted:
    """A listening socket whose connections are welcomed once they speak TLS.

    `counters` counts `tls_connections`, and in `tls_failed` those that never got that far.
    """

    def __init__(
        self, listening: socket.socket, serving: Serving, welcome: Welcome, counters: dict[str, int]
    ) -> None:
        self._socket = listening
        self._serving = serving
        self._welcome = welcome
        self._counters = counters
        self._tasks = Tasks()
        self._handshakes: dict[socket.socket, asyncio.Task[None]] = {}
        self._new: set[socket.socket] = set()  # Their tasks have not begun yet.
        self._stopped = False

    def start(self) -> None:
        """Accept from now on."""
        if not self._stopped:
            asyncio.get_running_loop().add_reader(self._socket, self._accept)

    async def stop(self) -> None:
        """Listen no more, and end what is left of the connections."""
        if not self._stopped:
            self._stopped = True
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
        await self._tasks.stop()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, _ = self._socket.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError:
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._socket)
                loop.call_later(EXHAUSTED_SECONDS, self.start)
                return
            connection.setblocking(False)
            if len(self._handshakes) >= HANDSHAKES_MAX:
                self._handshakes.pop(next(iter(self._handshakes))).cancel()
                self._counters["tls_failed"] += 1
            task = self._tasks.start(self._serve(connection), name="dns over TLS")
            self._handshakes[connection] = task
            self._new.add(connection)
            task.add_done_callback(partial(self._ended, connection))

    def _ended(self, connection: socket.socket, _: asyncio.Task[None]) -> None:
        """Close what was cancelled before it began; all others close it themselves."""
        if connection in self._new:
            self._new.discard(connection)
            self._handshakes.pop(connection, None)
            connection.close()

    async def _serve(self, connection: socket.socket) -> None:
        self._new.discard(connection)
        try:
            reader, writer = await self._open(connection)
        except OSError:  # So are errors of TLS.
            self._counters["tls_failed"] += 1
            connection.close()
            return
        except asyncio.CancelledError:
            connection.close()
            raise
        finally:
            self._handshakes.pop(connection, None)
        self._counters["tls_connections"] += 1
        await self._welcome(reader, writer)

    async def _open(
        self, connection: socket.socket
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(BUFFER_BYTES, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=self._serving(),
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=SHUTDOWN_SECONDS,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
